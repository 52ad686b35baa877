/** What a reflector has seen so far; for metrics and health. */
export interface ReflectorStats {
  readonly isConnected: boolean;
  /** When the server last said anything about this kind, in the clock's milliseconds; 0 = never. */
  readonly lastContactMs: number;
  /** Complete lists after the first. */
  readonly relists: number;
  /** Failed requests, broken and refused watches. */
  readonly failures: number;
  /** '' when the next thing is a list. */
  readonly resourceVersion: string;
}
