// What to ask of a camera, from the best wish to the plainest, and which camera was meant.

const SHORT_SIDE = 480; // a model smaller than this still gets a picture worth looking at

/**
 * Constraints to try one after another. Asking for an ideal portrait size alone lets Chromium crop a lying camera to a
 * square; `resizeMode: 'none'` keeps what the camera itself delivers.
 * @param {string} deviceId chosen camera, or '' for the one at the back
 * @param {{width: number, height: number}} size of the model's picture
 * @returns {object[]} arguments of getUserMedia
 */
export function cameraLadder(deviceId, size) {
  const which = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: { ideal: 'environment' } };
  const factor = Math.max(1, SHORT_SIDE / Math.min(size.width, size.height));
  const [width, height] = [Math.round(size.width * factor), Math.round(size.height * factor)];
  const [long, short] = [Math.max(width, height), Math.min(width, height)];
  const asks = [
    { ...which, width: { exact: width }, height: { exact: height }, resizeMode: { exact: 'none' } },
    { ...which, width: { ideal: long }, height: { ideal: short }, resizeMode: 'none' },
    which,
  ];
  if (deviceId) asks.push(true); // the chosen one has gone: any will do
  return asks.map((video) => ({ video, audio: false }));
}

/** Whether the next, plainer wish is worth a try after this error. */
export function asksTooMuch(error) {
  return error?.name === 'OverconstrainedError' || error?.name === 'ConstraintNotSatisfiedError';
}

/**
 * The camera to show as chosen: the remembered one by id, else by name (ids change when site data is cleared), else the first.
 * @param {{deviceId: string, label: string}[]} cameras
 * @param {{id: string, label: string} | null} remembered
 */
export function chosenCamera(cameras, remembered) {
  const byId = cameras.find((camera) => camera.deviceId && camera.deviceId === remembered?.id);
  const byName = cameras.find((camera) => camera.label && camera.label === remembered?.label);
  return (byId ?? byName ?? cameras[0])?.deviceId ?? '';
}

/** Name of a camera for people; browsers keep names back until the camera is allowed. */
export function cameraName(camera, number, count) {
  if (camera.label) return camera.label.replace(/ \([0-9a-f]{4}:[0-9a-f]{4}\)$/, '');
  return count > 1 ? `Camera ${number + 1}` : 'Camera';
}
