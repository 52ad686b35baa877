import { styleText } from 'node:util';
import type { DumpRule, DumpRules } from './state.ts';

export type Colour = 'red' | 'yellow' | 'green' | 'bold' | 'none';

/** The text in a colour, where the reader is a terminal that wants them. */
export function paint(text: string, colour: Colour, hasColours: boolean): string {
  return hasColours && colour !== 'none' ? styleText(colour, text, { validateStream: false }) : text;
}

export function rulesColour({ state }: DumpRules): Colour {
  return ({ ok: 'green', missing: 'red', differs: 'red', unchecked: 'none' } as const)[state];
}

export function ruleColour(state: DumpRule['state']): Colour {
  return ({ ok: 'none', missing: 'red', unexpected: 'yellow', unchecked: 'none' } as const)[state];
}
