/** Versions of the CNI specification. Pure. */

export const SUPPORTED_VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type SpecVersion = (typeof SUPPORTED_VERSIONS)[number];

export const LATEST_VERSION: SpecVersion = '1.1.0';
/** What a configuration means that names none. */
export const IMPLIED_VERSION: SpecVersion = '0.1.0';

export function isSupported(version: unknown): version is SpecVersion {
  return SUPPORTED_VERSIONS.some(supported => supported === version);
}

export function isAtLeast(version: SpecVersion, minimum: SpecVersion): boolean {
  return SUPPORTED_VERSIONS.indexOf(version) >= SUPPORTED_VERSIONS.indexOf(minimum);
}
