// Validates encoded messages with @bufbuild/protovalidate: node validate.mjs IMAGE < JSON lines > JSON lines.
import { createValidator } from "@bufbuild/protovalidate";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(process.argv[2])));
const validator = createValidator({ registry });

function pathOf(elements) {
  let path = "";
  for (const element of elements) {
    if (element.kind === "list_sub") path += `[${element.index}]`;
    else if (element.kind === "map_sub") path += "[]";
    else path += (path ? "." : "") + element.name;
  }
  return path;
}

function verdictOn(type, message) {
  const found = validator.validate(registry.getMessage(type), fromBinary(registry.getMessage(type), message));
  if (found.kind === "error") return { error: String(found.error) };
  return { violations: (found.violations ?? []).map((each) => [pathOf(each.field), each.ruleId]) };
}

for await (const line of createInterface({ input: process.stdin })) {
  const [type, message] = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(verdictOn(type, Buffer.from(message, "base64")))}\n`);
}
