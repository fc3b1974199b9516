// Builds hello.js with componentize-js: node build.mjs OUTPUT. (Its own command line lacks a dependency.)
import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const { component } = await componentize({
  sourcePath: "hello.js",
  witPath: "wit",
  worldName: "hello",
});
await writeFile(process.argv[2], component);
