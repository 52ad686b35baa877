/** Takes a pod's interface away, by the host's end: whatever became of the other, and of the pod's namespace. */
import type { RouteKernel } from '../../linux/route-socket.ts';
import type { Link } from '../../rtnetlink/links.ts';
import type { AttachmentId } from '../types.ts';
import { findLink, linksOf } from './links.ts';
import { isOwnAlias, parseAlias, shaperOf } from './names.ts';

/** Which attachment: see `hostLinkOf` and `aliasOf`. */
export interface LinkOwner {
  readonly hostLink: string;
  readonly alias: string;
}

/** Indexes of what there is of an attachment: the host's end, and the shaper. Another's link that has the name is not among them. */
export function linksToRemove(route: RouteKernel, { hostLink, alias }: LinkOwner): readonly number[] {
  const found = [findLink(route, hostLink), findLink(route, shaperOf(hostLink))];
  return found.filter(link => link !== undefined && link.alias === alias).map(link => link!.index);
}

export interface OwnLink extends LinkOwner {
  /** undefined where the names were too long for an alias: `hostLink` tells whose it is. */
  readonly id: AttachmentId | undefined;
  /** 0 = only a shaper is left. */
  readonly index: number;
  readonly isUp: boolean;
  /** Index of the bridge. */
  readonly master: number;
}

/** What there is of attachments of anybody's who marks links as we do: of a predecessor too. */
export function ownLinks(route: RouteKernel): readonly OwnLink[] {
  const marked = linksOf(route).filter(({ alias }) => isOwnAlias(alias));
  const hostEnds = marked.filter(({ kind }) => kind === 'veth');
  const names = new Set(hostEnds.map(({ name }) => shaperOf(name)));
  const alone = marked.filter(({ kind, name }) => kind === 'ifb' && !names.has(name));
  return [...hostEnds.map(describeLink), ...alone.map(describeShaper)];
}

function describeLink({ name, alias, index, isUp, master }: Link): OwnLink {
  return { hostLink: name, alias, id: parseAlias(alias), index, isUp, master };
}

function describeShaper({ name, alias }: Link): OwnLink {
  return { hostLink: name.replace(/^kpbw/, 'veth'), alias, id: parseAlias(alias), index: 0, isUp: false, master: 0 };
}
