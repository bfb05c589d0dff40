import { defineConfig } from 'vite';
import { pack } from './pack.js';

// The same bytes on every machine: the versions are those of package-lock.json, and nothing here asks for the time, the
// folder or the environment.
export default defineConfig({
  base: '/playground/',
  worker: { format: 'es' },
  build: {
    target: 'es2022',
    sourcemap: false,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 8000,
    reportCompressedSize: false,
  },
  plugins: [pack()],
});
