/** Why the kernel refuses, in words. Pure. */

/** include/uapi/asm-generic/errno-base.h, as far as nf_tables uses them; others by number. */
const ERRNO: Readonly<Record<number, string>> = {
  1: 'not permitted (EPERM)',
  2: 'something it refers to is missing (ENOENT)',
  12: 'out of memory (ENOMEM)',
  16: 'in use (EBUSY)',
  17: 'another is there already (EEXIST)',
  22: 'invalid (EINVAL)',
  23: 'the set is full (ENFILE)',
  39: 'ranges overlap (ENOTEMPTY)',
  95: 'not supported (EOPNOTSUPP)',
};

export function errnoText(errno: number): string {
  return ERRNO[errno] ?? `errno ${errno}`;
}

/** EPERM, EINTR, ENOMEM, ENOBUFS: nothing to do with one object, or one feature. */
export const NOT_OF_AN_OBJECT: ReadonlySet<number> = new Set([1, 4, 12, 105]);
