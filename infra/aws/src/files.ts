// Files that a program wants and its image cannot have: a container of its own writes them, before the program starts,
// into a volume that the two share. Only what is public travels like this; credentials are variables.

import type { Container } from "./task";

/** Where the program finds them. */
export const FILES = "/run/tandem";

export const DATABASE_CA = `${FILES}/database-ca.pem`;
export const TOKEN_KEY = `${FILES}/token-key.pem`;

/** A task's volumes, and the container that prepares them. */
export interface Prepared {
  containers: Container[];
  scratch: string[];
  /** For the container of the program. */
  mounts: Record<string, string>;
  dependsOn: Record<string, "SUCCESS">;
}

/**
 * @param files path to content, in PEM
 * @param writable volumes that the program may write to, by name, and where
 */
export function prepare(files: Record<string, string>, writable: Record<string, string> = {}): Prepared {
  const paths = Object.keys(files);
  if (paths.length === 0 && Object.keys(writable).length === 0) return { containers: [], scratch: [], mounts: {}, dependsOn: {} };
  const mounts = { ...(paths.length ? { files: FILES } : {}), ...writable };
  const commands = [
    ...paths.map((path, index) => `printf '%s\\n' "$FILE_${index}" >${path}`),
    // A new volume belongs to root, whoever the program runs as. Nobody else has this one.
    ...Object.values(writable).map((path) => `chmod 1777 ${path}`),
  ];
  return {
    containers: [
      {
        name: "files",
        image: "toolbox",
        essential: false, // it ends, and the task goes on
        user: "root",
        entryPoint: ["/bin/sh", "-euc"],
        command: [commands.join("\n")],
        environment: Object.fromEntries(paths.map((path, index) => [`FILE_${index}`, files[path]!.trim()])),
        mounts,
      },
    ],
    scratch: Object.keys(mounts),
    mounts,
    dependsOn: { files: "SUCCESS" },
  };
}
