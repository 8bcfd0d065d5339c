// A note to the next visit: WebGPU was running. It is taken away when all ends well; found again, it tells of a crash.

const RUNNING = 'segwright.running';
const CRASHED = 'segwright.crashed';
const CAUTIOUS = 7 * 24 * 3600 * 1000; // ms after a crash

/** @param {string} backend what runs now, or '' */
export function markRunning(backend) {
  try {
    if (backend === 'webgpu') localStorage.setItem(RUNNING, 'webgpu');
    else localStorage.removeItem(RUNNING);
  } catch {
    // storage is forbidden in some frames
  }
}

/** Whether the last visit, or one of the last days, ended while WebGPU ran. Asked once, before anything runs. */
export function crashedOnGpu(now = Date.now()) {
  try {
    if (localStorage.getItem(RUNNING)) {
      localStorage.removeItem(RUNNING);
      localStorage.setItem(CRASHED, String(now));
    }
    return now - Number(localStorage.getItem(CRASHED) ?? 0) < CAUTIOUS;
  } catch {
    return false;
  }
}
