/** Everything that the alerts of the order flow are tried with. */
import type { Scene } from '../types.ts';
import { LOSS_SCENE } from './losses.ts';
import { MENDED_SCENES } from './mended.ts';
import { QUIET_SCENES } from './quiet.ts';
import { WATCHER_SCENES } from './watchers.ts';

export const ORDER_SCENES: Scene[] = [LOSS_SCENE, ...MENDED_SCENES, ...QUIET_SCENES, ...WATCHER_SCENES];
