import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Pulumi keeps one program a process.
    pool: "forks",
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
