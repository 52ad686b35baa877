/** What a result says of DNS. Pure. */
import type { CniDns } from '../types.ts';
import type { Fields } from './reader.ts';

/** The runtime's own wish, else the configuration's; undefined where neither says anything. */
export function readDns(fields: Fields): CniDns | undefined {
  const runtime = fields.section('runtimeConfig').section('dns');
  const wished = {
    nameservers: runtime.texts('servers'),
    search: runtime.texts('searches'),
    options: runtime.texts('options'),
  };
  const own = fields.section('dns');
  const configured = {
    nameservers: own.texts('nameservers'),
    domain: own.text('domain') ?? '',
    search: own.texts('search'),
    options: own.texts('options'),
  };
  return withoutEmpty(wished) ?? withoutEmpty(configured);
}

/** resolv.conf(5), as a result has it; undefined where it says nothing. */
export function dnsOfResolvConf(text: string): CniDns | undefined {
  const [nameservers, search, options]: string[][] = [[], [], []];
  let domain = '';
  for (const line of text.split('\n')) {
    const [keyword = '', ...words] = line.trim().split(/\s+/);
    if (keyword === 'nameserver') nameservers!.push(...words.slice(0, 1));
    else if (keyword === 'domain') domain = words[0] ?? '';
    else if (keyword === 'search') search!.push(...words);
    else if (keyword === 'options') options!.push(...words);
  }
  return withoutEmpty({ nameservers: nameservers!, domain, search: search!, options: options! });
}

function withoutEmpty(dns: CniDns): CniDns | undefined {
  const said = Object.entries(dns).filter(([, value]) => value.length > 0);
  return said.length === 0 ? undefined : Object.fromEntries(said);
}
