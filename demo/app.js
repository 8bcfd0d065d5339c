// The page: loads the network, opens a source, and keeps frames and masks going between them.

import {
  Source, camerasAllowed, listCameras, openCamera, rememberCamera, rememberedCamera, stopStream,
} from './camera.js';
import { cameraName, chosenCamera } from './constraints.js';
import { placement, uprightTurns } from './geometry.js';
import { planRungs } from './ladder.js';
import { readManifest } from './manifest.js';
import { Network } from './network.js';
import { Mean, Pacer, Rate } from './pacer.js';
import {
  cameraNotice, describe, page, rungSentence, say, showNumbers, showProgress, showRung, showShares, showSource, showState,
  showTrouble,
} from './panel.js';
import { findGpu, hasSimd, isIos, wishes } from './probe.js';
import { crashedOnGpu, markRunning } from './sentinel.js';
import { View } from './view.js';
import { Trouble } from './words.js';

const facts = document.body.dataset;
const isolated = window.crossOriginIsolated === true;
const source = new Source(page.video, onFrame, (trouble) => fail(trouble, start));
const view = new View(page.canvas, currentFrame);
const pacer = new Pacer();
const rate = new Rate();
const milliseconds = { prepare: new Mean(), network: new Mean(), paint: new Mean(), repaint: new Mean() };

let manifest = null;
let network = null;
let cameras = [];
let extraTurns = 0; // by the Turn button
let epoch = 0; // grows with every change of source; what belongs to an earlier one is thrown away
let sentEpoch = 0; // of the frame in flight
let frames = 0;
let shares = null; // of the classes in the last mask
let loading = false; // the network is on its way
let retry = load;

// --- the network -------------------------------------------------------------------------------------------------------

async function load() {
  retry = load;
  loading = true;
  network?.close();
  showState('loading', 'Loading …');
  try {
    manifest = readManifest(await fetchManifest());
    describe(manifest);
    showThreshold();
    view.resize(manifest.size);
    if (!hasSimd()) throw new Trouble('simd');
    const plan = planRungs({
      gpu: await findGpu(),
      isolated,
      cores: navigator.hardwareConcurrency,
      ios: isIos(navigator),
      crashed: crashedOnGpu(),
      override: wishes(location.search),
      models: Object.keys(manifest.models),
    });
    network = new Network(manifest, { progress: showProgress, mask: onMask, stepDown, opened, failed: (t) => fail(t, load) });
    await network.open(plan);
  } catch (error) {
    fail(error instanceof Trouble ? error : new Trouble('unable', String(error?.stack ?? error)), load);
  }
}

async function fetchManifest() {
  const response = await fetch('manifest.json', { cache: 'no-cache' }).catch((error) => {
    throw new Trouble('manifest', error.message);
  });
  if (!response.ok) throw new Trouble('manifest', `the server answers ${response.status}`);
  return response.json().catch((error) => {
    throw new Trouble('manifest', error.message);
  });
}

function opened() {
  loading = false;
  pacer.reset();
  showRung(network.rung, network.tried, isolated);
  if (source.kind) running();
  else ready();
}

/** The rung that ran has failed; the next is being opened, and the source goes on meanwhile. */
function stepDown(name, why) {
  loading = true;
  showRung(null, network.tried, isolated);
  showState('loading', `${name} failed: ${why}. Changing over …`);
  allowStart();
}

function ready() {
  markRunning('');
  const notice = camerasAllowed() ? !cameras.length && 'no-camera' : window.isSecureContext ? 'camera' : 'insecure';
  showState('ready', notice ? cameraNotice(notice) : 'Ready. Start the camera, or open a picture or a video.');
  allowStart();
}

function running() {
  const { rung, tried } = network;
  markRunning(rung.backend);
  showState('running', rungSentence(rung, tried));
  allowStart();
  onFrame();
}

/** @param {Trouble} trouble @param {() => void} again what "Try again" does */
function fail(trouble, again) {
  retry = again;
  if (again === load) loading = false;
  stopSource();
  markRunning('');
  if (!network?.rung) showRung(null, network?.tried ?? [], isolated);
  showTrouble(trouble);
  allowStart();
}

// --- the source --------------------------------------------------------------------------------------------------------

async function start() {
  const turn = stopSource();
  showState('permission', 'Waiting for the camera: the browser may ask for permission.');
  allowStart();
  try {
    const stream = await openCamera(page.camera.value, manifest.size);
    if (turn !== epoch) return stopStream(stream);
    await source.showStream(stream);
    if (turn !== epoch) return;
    await listAgain(source.deviceId);
    const camera = cameras.find((each) => each.deviceId === source.deviceId);
    if (camera) rememberCamera(camera);
    shown();
  } catch (error) {
    if (turn === epoch) fail(error, start);
  }
}

async function openFile(file) {
  if (!file || !manifest) return;
  const turn = stopSource();
  try {
    await source.showFile(file, manifest.size);
    if (turn === epoch) shown();
  } catch (error) {
    if (turn === epoch) fail(error, ready);
  }
}

/** A source is there; masks follow as soon as the network is. */
function shown() {
  extraTurns = 0;
  if (network?.rung) running();
  else if (loading) showState('loading', 'Loading the network …');
  else load();
}

/** @returns {number} the new epoch */
function stopSource() {
  source.close();
  view.dropMask();
  rate.clear();
  shares = null;
  showSource('');
  return ++epoch;
}

async function listAgain(chosen = page.camera.value) {
  cameras = await listCameras();
  const options = cameras.map((camera, number) => new Option(cameraName(camera, number, cameras.length), camera.deviceId));
  page.camera.replaceChildren(...(options.length ? options : [new Option('No camera found', '')]));
  page.camera.disabled = cameras.length < 1;
  const known = cameras.some((camera) => camera.deviceId === chosen && chosen);
  page.camera.value = known ? chosen : chosenCamera(cameras, rememberedCamera());
  page.names.hidden = !cameras.length || cameras.some((camera) => camera.label);
}

/** Browsers tell the names of cameras only once one may be used. */
async function askForNames() {
  const turn = stopSource();
  showState('permission', 'Waiting for the camera: the browser may ask for permission.');
  try {
    stopStream(await openCamera('', manifest.size));
    await listAgain();
    if (turn === epoch) ready();
  } catch (error) {
    if (turn === epoch) fail(error, askForNames);
  }
}

function allowStart() {
  const waits = facts.state === 'permission' || facts.state === 'loading';
  page.start.disabled = waits || !network?.rung || (!cameras.length && facts.state !== 'running');
  page.names.disabled = waits;
}

// --- frames and masks --------------------------------------------------------------------------------------------------

/** What to draw now, and how. */
function currentFrame() {
  if (!source.picture || !source.size.width) return null;
  const { size } = source;
  const { matrix, scale } = placement(size, manifest.size, uprightTurns(size, manifest.size) + extraTurns);
  return { picture: source.picture, matrix, smoothing: scale < 0.5 ? 'high' : 'medium' };
}

function onFrame() {
  view.repaint();
  showSource(source.kind);
  if (facts.state === 'running' && currentFrame() && pacer.frame()) send();
}

async function send() {
  const frame = currentFrame();
  if (!frame) return pacer.reset(); // stopped while a frame waited
  sentEpoch = epoch;
  const bitmap = await createImageBitmap(frame.picture).catch(() => null); // null when the source was closed meanwhile
  if (bitmap && network.rung) {
    network.run(bitmap, view.spare, { ...frame, threshold: threshold() });
    view.spare = null;
  } else {
    bitmap?.close();
    pacer.reset();
  }
}

function onMask(mask) {
  const stale = sentEpoch !== epoch || !source.kind;
  if (mask.fresh && pacer.done()) send(); // first, so that the network does not wait for the screen
  if (stale) return;
  view.showMask(mask.rgba);
  shares = mask.shares;
  if (source.kind === 'picture') showShares(shares, manifest);
  if (mask.fresh) count(mask.times, mask.tensors);
}

function count(times, tensors) {
  rate.tick(performance.now());
  milliseconds.prepare.add(times.prepare);
  milliseconds.network.add(times.network);
  milliseconds.paint.add(times.paint);
  milliseconds.repaint.add(view.milliseconds);
  facts.frames = ++frames;
  facts.tensors = tensors;
  facts.dropped = pacer.dropped;
}

function showAllNumbers() {
  if (document.hidden || !manifest) return;
  if (source.kind && shares) showShares(shares, manifest); // often enough to be read
  showNumbers({
    fps: rate.perSecond(performance.now()),
    milliseconds: milliseconds.network.value,
    dropped: pacer.dropped,
    size: source.size,
    kind: source.kind,
  });
  for (const [name, mean] of Object.entries(milliseconds)) facts[name] = mean.value.toFixed(2);
}

// --- controls ----------------------------------------------------------------------------------------------------------

function threshold() {
  return Number(page.threshold.value);
}

function showThreshold() {
  page['threshold-value'].textContent = threshold().toFixed(2);
}

function fileTimeStamp() {
  return new Date().toISOString().slice(0, 19).replaceAll(':', '-');
}

async function saveSnapshot() {
  const address = URL.createObjectURL(await view.snapshot());
  Object.assign(document.createElement('a'), { href: address, download: `segwright-${fileTimeStamp()}.png` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function listen() {
  page.start.addEventListener('click', () => {
    if (facts.state !== 'running') return start();
    stopSource();
    view.repaint();
    ready();
  });
  page.camera.addEventListener('change', () => {
    const camera = cameras.find((each) => each.deviceId === page.camera.value);
    if (camera) rememberCamera(camera);
    if (source.kind === 'camera') start();
  });
  page.names.addEventListener('click', askForNames);
  page.retry.addEventListener('click', () => retry());
  for (const button of [page.open, page.instead]) button.addEventListener('click', () => page.file.click());
  page.file.addEventListener('change', () => {
    openFile(page.file.files[0]);
    page.file.value = ''; // so that the same file can be opened again
  });
  for (const name of ['dragover', 'drop', 'dragleave']) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      document.body.classList.toggle('dropping', name === 'dragover');
      if (name === 'drop') openFile(event.dataTransfer.files[0]);
    });
  }
  for (const radio of document.getElementsByName('view')) {
    radio.addEventListener('change', () => {
      view.show = radio.value;
      view.repaint();
    });
  }
  page.threshold.addEventListener('input', () => {
    showThreshold();
    if (source.kind && view.hasMask) network.look(threshold());
  });
  page.opacity.addEventListener('input', () => {
    view.opacity = Number(page.opacity.value);
    page['opacity-value'].textContent = `${Math.round(100 * view.opacity)} %`;
    view.repaint();
  });
  page.turn.addEventListener('click', () => {
    extraTurns = (extraTurns + 1) % 4;
    onFrame();
  });
  page.snapshot.addEventListener('click', saveSnapshot);
  page.fullscreen.hidden = !document.fullscreenEnabled;
  page.fullscreen.addEventListener('click', () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else page.stage.requestFullscreen().catch((error) => say(`Full screen was refused: ${error.message}`));
  });
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) source.pause();
    else source.resume();
    markRunning(!document.hidden && facts.state === 'running' ? network.rung.backend : '');
  });
  window.addEventListener('pagehide', () => markRunning(''));
  navigator.mediaDevices?.addEventListener?.('devicechange', async () => {
    await listAgain();
    if (facts.state === 'ready') ready();
    else allowStart();
  });
}

listen();
setInterval(showAllNumbers, 500);
await listAgain();
await load();
