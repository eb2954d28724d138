// Reads a JSON list of schemas, writes for each its JSON form with resolved types, or null where it is refused.
const cedar = require("@cedar-policy/cedar-wasm/nodejs");
const schemas = JSON.parse(require("fs").readFileSync(0, "utf8"));
const answers = schemas.map((schema) => {
  const answer = cedar.schemaToJsonWithResolvedTypes(schema);
  return answer.type === "success" ? answer.json : null;
});
process.stdout.write(JSON.stringify(answers));
