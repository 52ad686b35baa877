/** What a rule's text says, as far as Service rules say it. Absent matches are ''. */
export interface RuleFields {
  readonly comment: string;
  /** A single address without its prefix length; '' when there is none, or it is a range or negated. */
  readonly destination: string;
  /** Lower case. */
  readonly protocol: string;
  /** 0 when there is none. */
  readonly destinationPort: number;
  /** The target: a verdict or a chain. */
  readonly jump: string;
  /** Where DNAT sends to: `10.0.0.1:80` or `[fd00::1]:80`. */
  readonly toDestination: string;
}

const COMMENT = /--comment (?:"((?:[^"\\]|\\.)*)"|(\S+))/;

/** Reads a rule in the form that iptables-save prints, whoever wrote it. */
export function parseRule(rule: string): RuleFields {
  const found = COMMENT.exec(rule);
  const comment = (found?.[1] ?? found?.[2] ?? '').replaceAll(/\\(.)/g, '$1');
  // Comments are free text: options are looked for in what is left.
  const rest = ` ${found === null ? rule : rule.replace(COMMENT, '')}`;
  return {
    comment,
    destination: /(?<! !) -d ([0-9a-f.:]+?)(?:\/32|\/128)?(?= |$)/.exec(rest)?.[1] ?? '',
    protocol: / -p (\S+)/.exec(rest)?.[1] ?? '',
    destinationPort: Number(/ --dport (\d+)(?= |$)/.exec(rest)?.[1] ?? 0),
    jump: jumpOf(rest),
    toDestination: / --to-destination (\S+)/.exec(rest)?.[1] ?? '',
  };
}

/** The target of a rule, '' when it has none. */
export function jumpOf(rule: string): string {
  return /(?:^| )-[jg] (\S+)/.exec(rule)?.[1] ?? '';
}

/** The address and port of `10.0.0.1:80` or `[fd00::1]:80`. */
export function parseEndpoint(text: string): { readonly ip: string; readonly port: number } | undefined {
  const found = /^(?:\[([0-9a-f:.]+)\]|([0-9.]+)):(\d+)$/.exec(text);
  return found === null ? undefined : { ip: found[1] ?? found[2] ?? '', port: Number(found[3]) };
}
