// One frame in flight, newest wins: when to send a frame to the network, and how many were left out.

export class Pacer {
  busy = false;
  waiting = false; // a newer frame than the one in flight has been seen
  dropped = 0;

  /** A new frame is there. @returns {boolean} whether to send it now */
  frame() {
    if (this.busy) {
      if (this.waiting) this.dropped++; // the one that waited is replaced
      this.waiting = true;
      return false;
    }
    this.busy = true;
    return true;
  }

  /** The network has answered. @returns {boolean} whether to send the newest frame at once */
  done() {
    this.busy = this.waiting;
    this.waiting = false;
    return this.busy;
  }

  /** Forget what is in flight: the source or the network has changed. */
  reset() {
    this.busy = false;
    this.waiting = false;
  }
}

/** Events per second over the last seconds. */
export class Rate {
  #times = [];

  /** @param {number} now ms */
  tick(now) {
    this.#times.push(now);
    if (this.#times.length > 60) this.#times.shift();
  }

  /** @param {number} now ms @returns {number} per second; 0 once nothing has come for two seconds */
  perSecond(now) {
    const recent = this.#times.filter((time) => now - time < 2000);
    if (recent.length < 2) return 0;
    return (1000 * (recent.length - 1)) / (recent.at(-1) - recent[0]);
  }

  clear() {
    this.#times = [];
  }
}

/** A mean that forgets slowly. */
export class Mean {
  value = 0;

  /** @param {number} sample */
  add(sample) {
    this.value += (sample - this.value) * (this.value ? 0.1 : 1);
  }
}
