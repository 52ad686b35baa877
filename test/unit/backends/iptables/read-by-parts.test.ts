import { describe, expect, it } from 'vitest';
import { chainNames, readByParts } from '../../../../src/backends/iptables/read-by-parts.ts';
import { toolsOf } from '../../../../src/backends/iptables/tools.ts';
import { ExecError, type run } from '../../../../src/linux/exec.ts';

/** As nft 1.0.6 prints them. */
const CHAINS = `table ip nat {
\tchain PREROUTING {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t}
\tchain KUBE-SERVICES {
\t}
\tchain KUBE-MARK-MASQ {
\t}
\tchain KUBE-SVC-AAAAAAAAAAAAAAAA {
\t}
\tchain OTHERS {
\t}
}
table ip filter {
\tchain KUBE-FORWARD {
\t}
}
`;
const ENTRY =
  '-d 10.96.0.1/32 -p tcp -m comment --comment "a/b:p cluster IP" -m tcp --dport 80 -j KUBE-SVC-AAAAAAAAAAAAAAAA';
const PORTALS = '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES';

/** Answers of the tools by command line; exit status 1 to any other. */
const ANSWERS: Readonly<Record<string, string>> = {
  'iptables-nft-save -t filter': '*filter\n:KUBE-FORWARD - [0:0]\n-A KUBE-FORWARD -j ACCEPT\nCOMMIT\n',
  'iptables-nft-save -t nat': "# Table `nat' is incompatible, use 'nft' tool.\n",
  'nft list chains ip': CHAINS,
  'iptables-nft -t nat -S KUBE-SERVICES': `-N KUBE-SERVICES\n-A KUBE-SERVICES ${ENTRY}\n`,
  'iptables-nft -t nat -S KUBE-MARK-MASQ': '-N KUBE-MARK-MASQ\n-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n',
  'iptables-nft -t nat -C PREROUTING -m comment --comment kubernetes service portals -j KUBE-SERVICES': '',
};

function answering(answers: Readonly<Record<string, string>>, stderr = 'iptables: Bad rule') {
  const asked: string[] = [];
  const answer: typeof run = async (file, args = [], options = {}) => {
    const op = [file, ...args].join(' ');
    asked.push(op);
    const stdout = answers[op];
    if (stdout === undefined) {
      const failure = { exitCode: 1, stdout: '', stderr, isNotFound: false, isTimeout: false, cause: undefined };
      throw new ExecError(op, failure);
    }
    options.onOutput?.(Buffer.from(stdout));
    return { stdout, stderr: '' };
  };
  return { io: { tools: toolsOf('nft', 'IPv4'), run: answer }, asked };
}

describe('readByParts', () => {
  it('finds our chains, the rules of those that all Services share, and our jumps', async () => {
    const { io, asked } = answering(ANSWERS);
    const plan = await readByParts(io);
    expect([...plan.keys()].toSorted()).toEqual([
      'KUBE-SVC-AAAAAAAAAAAAAAAA',
      'filter/KUBE-FORWARD',
      'nat/KUBE-MARK-MASQ',
      'nat/KUBE-SERVICES',
      `nat/KUBE-SERVICES ${ENTRY}`,
      `nat/PREROUTING ${PORTALS}`,
    ]);
    expect(plan.get('nat/KUBE-MARK-MASQ')).toMatchObject({ rules: '-j MARK --set-xmark 0x4000/0x4000' });
    expect(plan.get('KUBE-SVC-AAAAAAAAAAAAAAAA')).toMatchObject({ kind: 'chain', table: 'nat', rules: '# unknown' });
    // The chain isn't there, so no jump to it is.
    expect(asked.filter(op => op.endsWith(' KUBE-POSTROUTING'))).toEqual([]);
  });

  it.each([
    ['nft is missing', 'nft list chains ip'],
    ['a chain that all Services share cannot be printed', 'iptables-nft -t nat -S KUBE-SERVICES'],
  ])('%s: the reason is told', async (_, op) => {
    const { [op]: _answer, ...others } = ANSWERS;
    await expect(readByParts(answering(others).io)).rejects.toMatchObject({
      name: 'UnreadableError',
      message: expect.stringContaining(`; nor can it be read by parts: ${op}`),
    });
  });

  it('takes a chain that iptables cannot look into for unreadable, not for one without our jump', async () => {
    const said = "chain `OUTPUT' in table `nat' is incompatible, use 'nft' tool.";
    await expect(readByParts(answering(ANSWERS, said).io)).rejects.toMatchObject({ name: 'UnreadableError' });
  });

  it('knows the tables of nft apart', () => {
    expect(chainNames(CHAINS, 'ip filter')).toEqual(['KUBE-FORWARD']);
    expect(chainNames(CHAINS, 'ip6 nat')).toEqual([]);
  });
});
