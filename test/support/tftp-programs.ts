/** A TFTP client of Debian. */
export interface TftpProgram {
  readonly name: string;
  readonly program: string;
  readonly args: (host: string, port: string, file: string, target: string) => string[];
}

export const tftpPrograms = [
  {
    name: "tftp-hpa",
    program: "tftp",
    args: (host, port, file, target) => ["-m", "octet", host, port, "-c", "get", file, target],
  },
  {
    name: "atftp, lockstep",
    program: "atftp",
    args: (host, port, file, target) => [
      "--option",
      "blksize 1428",
      "-g",
      "-r",
      file,
      "-l",
      target,
      host,
      port,
    ],
  },
  {
    name: "atftp, window 8, blksize 1428",
    program: "atftp",
    args: (host, port, file, target) => [
      "--option",
      "blksize 1428",
      "--option",
      "windowsize 8",
      "-g",
      "-r",
      file,
      "-l",
      target,
      host,
      port,
    ],
  },
  {
    name: "atftp, window 8, blksize 512",
    program: "atftp",
    args: (host, port, file, target) => [
      "--option",
      "blksize 512",
      "--option",
      "windowsize 8",
      "-g",
      "-r",
      file,
      "-l",
      target,
      host,
      port,
    ],
  },
  {
    name: "busybox tftp",
    program: "busybox",
    args: (host, port, file, target) => ["tftp", "-g", "-b", "1468", "-r", file, "-l", target, host, port],
  },
  {
    name: "curl, blksize 1468",
    program: "curl",
    args: (host, port, file, target) => [
      "-sS",
      "--tftp-blksize",
      "1468",
      "-o",
      target,
      `tftp://${host}:${port}/${file}`,
    ],
  },
  {
    name: "curl, blksize 512",
    program: "curl",
    args: (host, port, file, target) => ["-sS", "-o", target, `tftp://${host}:${port}/${file}`],
  },
] as const satisfies readonly TftpProgram[];
