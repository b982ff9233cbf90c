/** Everything that alerts are tried with. */
import { CHANGE_SCENES } from './change.ts';
import { LAG_SCENES } from './lag.ts';
import { MENU_SCENES } from './menu.ts';
import { OUTAGE_SCENES } from './outages.ts';
import { TRUST_SCENES } from './trust.ts';
import type { Scene } from './types.ts';

export const SCENES: Scene[] = [...MENU_SCENES, ...OUTAGE_SCENES, ...LAG_SCENES, ...TRUST_SCENES, ...CHANGE_SCENES];
