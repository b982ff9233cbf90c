/**
 * Bundles the page into a folder: `npm run bundle [-- FOLDER]`.
 *
 * The folder is `BOARDS_BUNDLE` or the user's cache when none is given; it never lies in the tree.
 */
import { build, type Plugin } from 'esbuild';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleFolder, PACKAGE, readArguments } from './arguments.ts';

/**
 * Packages that the page loads but never uses: the code editor, the maps, the rich text editor. They are two thirds of
 * what would be bundled.
 */
const UNUSED =
  /^(monaco-editor|@monaco-editor\/react|ol|slate|slate-react|slate-plain-serializer|@uiw\/react-codemirror|@grafana\/faro-web-sdk)(\/|$)/;

/** Any name imported from an unused package is a class without anything in it, since some are extended at load. */
const stubs: Plugin = {
  name: 'unused packages',
  setup(context) {
    context.onResolve({ filter: UNUSED }, ({ path }) => ({ path, namespace: 'unused' }));
    context.onLoad({ filter: /.*/, namespace: 'unused' }, () => ({
      contents: 'module.exports = new Proxy({}, { get: (_, name) => (name === "__esModule" ? true : class {}) });',
      loader: 'js',
    }));
  },
};

/** Bundles the page. @returns the folder */
export async function bundle(folder: string): Promise<string> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await build({
    entryPoints: { preview: join(PACKAGE, 'preview/page/main.tsx') },
    outdir: folder,
    bundle: true,
    format: 'iife',
    target: 'es2022',
    minify: true,
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"production"' },
    loader: { '.svg': 'dataurl', '.png': 'dataurl' },
    legalComments: 'linked',
    logLevel: 'warning',
    plugins: [stubs],
  });
  // Grafana's components fetch their icons from below `window.__grafana_public_path__`.
  await cp(join(PACKAGE, 'node_modules/@grafana/ui/dist/public/img'), join(folder, 'public/build/img'), {
    recursive: true,
  });
  await addFonts(join(folder, 'public/fonts'));
  await addIcons(join(folder, 'public/build/img/icons/unicons'));
  await writeFile(join(folder, 'index.html'), INDEX);
  return folder;
}

/** The fonts under the names by which Grafana's style asks for them. Grafana's package has none. */
const FONTS: Array<[source: string, name: string]> = [
  ['inter/files/inter-latin-400-normal.woff2', 'inter/Inter-Regular.woff2'],
  ['inter/files/inter-latin-500-normal.woff2', 'inter/Inter-Medium.woff2'],
  ['inter/files/inter-latin-400-italic.woff2', 'inter/Inter-Italic.woff2'],
  ['inter/files/inter-latin-500-italic.woff2', 'inter/Inter-MediumItalic.woff2'],
  [
    'roboto-mono/files/roboto-mono-latin-400-normal.woff2',
    'roboto/L0xTDF4xlVMF-BfR8bXMIhJHg45mwgGEFl0_3vrtSM1J-gEPT5Ese6hmHSh0mQ.woff2',
  ],
];

async function addFonts(folder: string): Promise<void> {
  for (const [source, name] of FONTS) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await cp(join(PACKAGE, 'node_modules/@fontsource', source), join(folder, name));
  }
}

/** Icons that Grafana's components ask for and its package leaves out. */
async function addIcons(folder: string): Promise<void> {
  const right = await readFile(join(folder, 'angle-double-right.svg'), 'utf8');
  const left = right.replace('<path ', '<path transform="matrix(-1 0 0 1 24 0)" ');
  await writeFile(join(folder, 'angle-double-left.svg'), left);
  const ring =
    '<circle cx="12" cy="12" r="9" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="40 20"/>';
  await writeFile(
    join(folder, 'spinner.svg'),
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">${ring}</svg>`,
  );
}

const INDEX = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Boards (preview)</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="/preview.css">
    <style>body { margin: 0 }</style>
  </head>
  <body>
    <div id="root"></div>
    <script src="/preview.js"></script>
  </body>
</html>
`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { positionals } = readArguments({});
  const started = Date.now();
  const folder = await bundle(bundleFolder(positionals[0]));
  console.log(`bundle in ${folder} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
}
