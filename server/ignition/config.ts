/** An Ignition config, the parts that rules and sugar look into; `config-shape.ts` has every key. */
export interface IgnitionConfig {
  readonly ignition: {
    readonly version: string;
    readonly config?: { readonly merge?: readonly Resource[]; readonly replace?: Resource };
    readonly proxy?: { readonly httpProxy?: string; readonly httpsProxy?: string };
    readonly security?: { readonly tls?: { readonly certificateAuthorities?: readonly Resource[] } };
  };
  readonly storage?: Storage;
  readonly systemd?: { readonly units?: readonly Unit[] };
  readonly [section: string]: unknown;
}

export interface Storage {
  readonly directories?: readonly Directory[];
  readonly disks?: readonly Disk[];
  readonly files?: readonly File[];
  readonly filesystems?: readonly Filesystem[];
  readonly links?: readonly Link[];
  readonly luks?: readonly Luks[];
  readonly raid?: readonly Raid[];
}

export interface Resource {
  readonly compression?: string;
  readonly httpHeaders?: readonly { readonly name: string; readonly value?: string }[];
  readonly source?: string;
  readonly verification?: { readonly hash?: string };
}

export interface Identity {
  readonly id?: number;
  readonly name?: string;
}

export interface Node {
  readonly path: string;
  readonly user?: Identity;
  readonly group?: Identity;
  readonly overwrite?: boolean;
}

export interface Directory extends Node {
  readonly mode?: number;
}
export interface File extends Node {
  readonly append?: readonly Resource[];
  readonly contents?: Resource;
  readonly mode?: number;
}
export interface Link extends Node {
  readonly hard?: boolean;
  readonly target?: string;
}

export interface Partition {
  readonly guid?: string;
  readonly label?: string;
  readonly number?: number;
  readonly shouldExist?: boolean;
  readonly sizeMiB?: number;
  readonly startMiB?: number;
  readonly typeGuid?: string;
}
export interface Disk {
  readonly device: string;
  readonly partitions?: readonly Partition[];
}
export interface Filesystem {
  readonly device: string;
  readonly format?: string;
  readonly label?: string;
  readonly mountOptions?: readonly string[];
  readonly options?: readonly string[];
  readonly path?: string;
  readonly uuid?: string;
  readonly wipeFilesystem?: boolean;
}
export interface Luks {
  readonly clevis?: {
    readonly custom?: { readonly config?: string; readonly needsNetwork?: boolean; readonly pin?: string };
    readonly tang?: readonly {
      readonly url: string;
      readonly thumbprint?: string;
      readonly advertisement?: string;
    }[];
    readonly threshold?: number;
    readonly tpm2?: boolean;
  };
  readonly device?: string;
  readonly keyFile?: Resource;
  readonly label?: string;
  readonly name: string;
}
export interface Raid {
  readonly devices?: readonly string[];
  readonly level?: string;
  readonly spares?: number;
}
export interface Unit {
  readonly name: string;
  readonly contents?: string;
  readonly enabled?: boolean;
  readonly dropins?: readonly { readonly name: string; readonly contents?: string }[];
}
