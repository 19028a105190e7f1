// What Kana's admin SDK takes and answers.
import type { KanaError } from "./errors.js";

export type Metadata = Record<string, unknown>;
export type FeatureType = "BINARY" | "CONSUMABLE";

/** What every method answers: either is there. */
export type Result<Data> = { data: Data; error?: undefined } | { data?: undefined; error: KanaError };

export interface Feature {
  id: string;
  name: string;
  type: FeatureType;
  unitLabel: string | null;
  unitLabelPlural: string | null;
  metadata: Metadata | null;
  packages: Omit<Package, "features">[];
}

export interface PackageFeature extends Omit<Feature, "packages"> {
  /** Null: unlimited, or a binary feature. */
  limit: number | null;
}

export interface Package {
  id: string;
  name: string;
  status: "DRAFT" | "PUBLISHED" | "ARCHIVED";
  isAddon: boolean;
  updatedAt: string;
  metadata: Metadata | null;
  /** Only with `includeFeatures`. */
  features?: PackageFeature[];
}

export interface Consumption {
  used: number;
  /** Null: unlimited. */
  budget: number | null;
  overageEnabled: boolean;
}

export interface Access {
  access: boolean;
  reason: string;
  /** Null for a binary feature. */
  consumption: Consumption | null;
}

export interface Usage {
  periodStart: string;
  /** Null: the period never ends. */
  periodEnd: string | null;
  consumption: Consumption;
}

export interface User {
  id: string;
  billingId: string | null;
  name: string | null;
  email: string | null;
  metadata: Metadata | null;
}

export interface Subscription {
  id: string;
  userId: string;
  status: string;
  package: Package;
}

export interface NewFeature {
  id: string;
  name?: string;
  type: FeatureType;
  unitLabel?: string;
  unitLabelPlural?: string;
  metadata?: Metadata;
}

export interface NewPackage {
  id: string;
  name?: string;
  isAddon?: boolean;
  metadata?: Metadata;
  features: {
    id: string;
    /** Only for consumable features. */
    entitlement?: { limit?: number | null; resetPeriod: "YEAR" | "MONTH" | "DAY"; overageEnabled?: boolean };
  }[];
}

export interface NewUser {
  id: string;
  billingId?: string;
  name?: string;
  email?: string;
  metadata?: Metadata;
}
