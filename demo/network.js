// The network as the page sees it: steps down the ladder until a worker runs, hands frames over and masks back.

import { download } from './files.js';
import { rungName, rungsAfter } from './ladder.js';
import { addressOf, runtimeFile } from './manifest.js';
import { Trouble, runtimeTrouble } from './words.js';

const PATIENCE = 30_000; // ms that WebGPU has for opening, proving and each frame, unless it was asked for

/** Why a rung was left, in one line. */
function reasonOf(trouble) {
  const line = (trouble.detail || trouble.message).split('\n')[0];
  return line.length > 180 ? `${line.slice(0, 180)}…` : line;
}

export class Network {
  #manifest;
  #hear;
  #rungs = [];
  #worker = null;
  #fail = (_trouble) => {}; // what to do when the worker cannot go on
  #patience = 0; // ms, 0 for as long as it takes
  #timer = 0;
  #turn = 0; // grows with every opening, so that answers of an earlier one are not mistaken

  /** @type {import('./ladder.js').Rung | null} */
  rung = null;
  /** Why rungs were left out or left. @type {{name: string, why: string}[]} */
  tried = [];

  /**
   * @param {any} manifest as `readManifest` gives it
   * @param {object} hear
   * @param {(what: string, share: number, bytes?: number) => void} hear.progress
   * @param {(mask: any) => void} hear.mask
   * @param {(name: string, why: string) => void} hear.stepDown a running rung has failed; frames in flight are lost
   * @param {() => void} hear.opened
   * @param {(trouble: Trouble) => void} hear.failed no rung is left
   */
  constructor(manifest, hear) {
    this.#manifest = manifest;
    this.#hear = hear;
  }

  /** Open the first rung that works. */
  async open({ rungs, skipped }) {
    this.#rungs = [...rungs];
    this.tried = [...skipped];
    await this.#climbDown();
  }

  /** Answer a frame; the mask comes through `hear.mask`. `bitmap`, and `spare` if there is one, are handed over. */
  run(bitmap, spare, { matrix, smoothing, threshold }) {
    const given = spare ? [bitmap, spare] : [bitmap];
    this.#worker.postMessage({ type: 'frame', bitmap, matrix, smoothing, threshold, spare }, given);
    this.#limit();
  }

  /** Paint the last answer with another threshold. */
  look(threshold) {
    if (this.rung) this.#worker.postMessage({ type: 'look', threshold });
  }

  close() {
    this.#turn++;
    this.#end();
  }

  #end() {
    clearTimeout(this.#timer);
    this.#worker?.terminate();
    this.#worker = null;
    this.rung = null;
  }

  async #climbDown() {
    const turn = ++this.#turn;
    const missing = new Map(); // a file that is missing for one rung is missing for all
    let last = new Trouble('unable', 'no rung to try');
    for (let rung = this.#rungs.shift(); rung; rung = this.#rungs.shift()) {
      this.#end();
      try {
        await this.#openRung(rung, turn, missing);
        if (turn !== this.#turn) return;
        this.rung = rung;
        this.#hear.opened();
        return;
      } catch (error) {
        if (turn !== this.#turn) return;
        last = error instanceof Trouble ? error : runtimeTrouble(String(error?.message ?? error));
        this.tried.push({ name: rungName(rung), why: reasonOf(last) });
        this.#rungs = rungsAfter(this.#rungs, last.code);
      }
    }
    this.#end();
    this.#hear.failed(last);
  }

  async #openRung(rung, turn, missing) {
    const { models, runtime } = this.#manifest;
    const files = runtime[rung.backend];
    const fetchOnce = async (file, kind, what) => {
      if (missing.has(file.path)) throw missing.get(file.path);
      try {
        return await download(file, kind, (share) => turn === this.#turn && this.#hear.progress(what, share, file.bytes));
      } catch (error) {
        missing.set(file.path, error);
        throw error;
      }
    };
    const binary = await fetchOnce(runtimeFile(this.#manifest, files.binary), 'runtime', 'the runtime');
    const model = await fetchOnce(models[rung.precision], 'model', 'the model');
    if (turn !== this.#turn) return;
    this.#hear.progress('', 1);
    const moduleUrl = new URL(addressOf(runtimeFile(this.#manifest, files.module)), document.baseURI).href;
    const manifest = { ...this.#manifest, runtime: undefined };
    await this.#start(rung, turn, { type: 'open', rung, manifest, model, binary, moduleUrl });
  }

  /** A worker of its own for each rung: whatever broke the last one is gone with it. */
  #start(rung, turn, message) {
    return new Promise((resolve, reject) => {
      const worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module', name: 'network' });
      this.#worker = worker;
      this.#fail = reject;
      this.#patience = rung.backend === 'webgpu' && !rung.forced ? PATIENCE : 0;
      const opened = () => {
        clearTimeout(this.#timer);
        this.#fail = (trouble) => this.#stepDown(rung, trouble);
        resolve();
      };
      worker.onmessage = ({ data }) => {
        if (turn !== this.#turn) return;
        if (data.type === 'stage') data.stage !== 'runtime' && this.#limit();
        else if (data.type === 'opened') opened();
        else if (data.type === 'mask') {
          if (data.fresh) clearTimeout(this.#timer);
          this.#hear.mask(data);
        } else if (data.type === 'lost') this.#fail(new Trouble('lost', `the graphics device was lost: ${data.message}`));
        else this.#fail(data.code ? new Trouble(data.code, data.message) : runtimeTrouble(data.message));
      };
      worker.onerror = (event) => {
        event.preventDefault();
        if (turn === this.#turn) this.#fail(runtimeTrouble(event.message || 'worker.js could not be loaded'));
      };
      worker.postMessage(message, [message.model.buffer, message.binary.buffer]);
    });
  }

  #limit() {
    clearTimeout(this.#timer);
    const turn = this.#turn;
    if (!this.#patience) return;
    this.#timer = setTimeout(() => {
      if (turn === this.#turn) this.#fail(new Trouble('slow', `no answer within ${PATIENCE / 1000} seconds`));
    }, this.#patience);
  }

  /** A rung that ran has failed. */
  #stepDown(rung, trouble) {
    const why = reasonOf(trouble);
    this.tried.push({ name: rungName(rung), why });
    this.#rungs = rungsAfter(this.#rungs, trouble.code);
    if (!this.#rungs.length) {
      this.close();
      this.#hear.failed(trouble);
      return;
    }
    this.#hear.stepDown(rungName(rung), why);
    this.#climbDown();
  }
}
