// Where pictures come from: a camera, a video file or a picture file, all shown through one small source.

import { asksTooMuch, cameraLadder } from './constraints.js';
import { shrunk, uprightTurns } from './geometry.js';
import { Trouble, cameraTrouble } from './words.js';

const REMEMBERED = 'segwright.camera';

/** Whether the browser gives cameras to this page at all. */
export function camerasAllowed() {
  return Boolean(navigator.mediaDevices?.getUserMedia);
}

/** Cameras of this device; without names until one has been allowed. @returns {Promise<MediaDeviceInfo[]>} */
export async function listCameras() {
  if (!camerasAllowed()) return [];
  const devices = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  return devices.filter((device) => device.kind === 'videoinput');
}

/** @returns {{id: string, label: string} | null} */
export function rememberedCamera() {
  try {
    return JSON.parse(localStorage.getItem(REMEMBERED));
  } catch {
    return null; // storage is forbidden in some frames
  }
}

/** @param {{deviceId: string, label: string}} camera */
export function rememberCamera({ deviceId, label }) {
  try {
    localStorage.setItem(REMEMBERED, JSON.stringify({ id: deviceId, label }));
  } catch {
    // the choice then lasts as long as the page
  }
}

/**
 * Open a camera by the ladder of constraints.
 * @returns {Promise<MediaStream>}
 * @throws {Trouble}
 */
export async function openCamera(deviceId, size) {
  if (!camerasAllowed()) throw new Trouble(window.isSecureContext ? 'camera' : 'insecure');
  let last;
  for (const constraints of cameraLadder(deviceId, size)) {
    try {
      return await navigator.mediaDevices.getUserMedia(constraints);
    } catch (error) {
      last = error;
      if (!asksTooMuch(error)) break;
    }
  }
  throw cameraTrouble(last);
}

/** Let a camera go. @param {MediaStream | null} stream */
export function stopStream(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

/**
 * The source that is shown: something to draw, its size as delivered, and a call for each new frame.
 */
export class Source {
  #video;
  #stream = null;
  #address = '';
  #callback = 0;
  #onFrame;
  #onGone;

  /** What to draw, or null. @type {HTMLVideoElement | ImageBitmap | null} */
  picture = null;
  /** @type {'' | 'camera' | 'video' | 'picture'} */
  kind = '';

  /**
   * @param {HTMLVideoElement} video hidden element that decodes
   * @param {() => void} onFrame a new frame, or the size has changed
   * @param {(trouble: Trouble) => void} onGone the camera has ended by itself
   */
  constructor(video, onFrame, onGone) {
    this.#video = video;
    this.#onFrame = onFrame;
    this.#onGone = onGone;
    video.addEventListener('resize', () => this.picture === video && this.#onFrame());
  }

  /** Size as delivered; a phone that is turned changes it. */
  get size() {
    if (!this.picture) return { width: 0, height: 0 };
    if (this.picture === this.#video) return { width: this.#video.videoWidth, height: this.#video.videoHeight };
    return { width: this.picture.width, height: this.picture.height };
  }

  /** Id of the open camera, or ''. */
  get deviceId() {
    return this.#stream?.getVideoTracks()[0]?.getSettings().deviceId ?? '';
  }

  /** @param {MediaStream} stream */
  async showStream(stream) {
    this.close();
    this.#stream = stream;
    stream.getVideoTracks()[0].addEventListener('ended', () => {
      if (this.#stream === stream) this.#onGone(new Trouble('gone'));
    });
    this.#video.srcObject = stream;
    await this.#play('camera');
  }

  /**
   * @param {File} file
   * @param {{width: number, height: number}} modelSize
   * @throws {Trouble} it is neither picture nor video
   */
  async showFile(file, modelSize) {
    this.close();
    if (file.type.startsWith('video/')) {
      this.#address = URL.createObjectURL(file);
      this.#video.src = this.#address;
      this.#video.loop = true;
      await this.#play('video');
      return;
    }
    try {
      const whole = await createImageBitmap(file);
      const smaller = shrunk(whole, modelSize, uprightTurns(whole, modelSize));
      this.picture = smaller ? await resized(whole, smaller) : whole;
    } catch (error) {
      throw new Trouble('file', `${file.name}: ${error.message}`);
    }
    this.kind = 'picture';
    this.#onFrame();
  }

  async #play(kind) {
    const video = this.#video;
    const [stream, address] = [this.#stream, this.#address];
    try {
      await video.play();
    } catch (error) {
      if (this.#stream !== stream || this.#address !== address) return; // another source took its place
      this.close();
      throw kind === 'video' ? new Trouble('file', error.message) : cameraTrouble(error);
    }
    this.kind = kind;
    this.picture = video;
    this.#await();
  }

  /** Ask for the next frame of the video, where the browser can; else look at each repaint. */
  #await() {
    const video = this.#video;
    const next = (again) =>
      video.requestVideoFrameCallback ? video.requestVideoFrameCallback(again) : requestAnimationFrame(again);
    const frame = () => {
      if (this.picture !== video) return;
      this.#callback = next(frame);
      this.#onFrame();
    };
    this.#callback = next(frame);
  }

  pause() {
    if (this.picture === this.#video) this.#video.pause();
  }

  resume() {
    if (this.picture === this.#video) this.#video.play().catch(() => {});
  }

  /** Let everything go. */
  close() {
    const video = this.#video;
    (video.cancelVideoFrameCallback ?? cancelAnimationFrame).call(video.cancelVideoFrameCallback ? video : window, this.#callback);
    if (this.picture instanceof ImageBitmap) this.picture.close();
    stopStream(this.#stream);
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#stream = null;
    this.#address = '';
    this.picture = null;
    this.kind = '';
    video.pause();
    video.srcObject = null;
    video.removeAttribute('src');
    video.loop = false;
  }
}

async function resized(bitmap, { width, height }) {
  const smaller = await createImageBitmap(bitmap, { resizeWidth: width, resizeHeight: height, resizeQuality: 'high' });
  bitmap.close();
  return smaller;
}
