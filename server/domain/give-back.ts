/**
 * Gives the memory of octets that nobody needs any more back at once. Left to the collector of garbage, what flows through the server makes
 * it go through all objects again and again, for it takes the octets for a heap that grows.
 */
export function giveBack({ buffer, byteLength }: Uint8Array): void {
  // What others have a part of, such as Node's pool for small buffers, stays.
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}
