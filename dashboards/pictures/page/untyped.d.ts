// What has no types of its own.

declare module "d3-scale-chromatic" {
  export function interpolateOranges(part: number): string;
}
