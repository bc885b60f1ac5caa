// promptfoo, with two providers that know a base URL: eight questions to each, eight calls at once.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const apiBaseUrl = process.env.OPENAI_BASE_URL;
const tests = Array.from({ length: 8 }, (_, n) => ({
  vars: { question: `Which colour has marble number ${n + 71}?` },
  assert: [{ type: "contains", value: `Which colour has marble number ${n + 71}?` }],
}));
const providers = ["chat", "responses"].map((api) => ({
  id: `openai:${api}:gpt-5-mini`,
  config: { apiBaseUrl },
}));
writeFileSync("config.json", JSON.stringify({ prompts: ["{{question}}"], providers, tests }));
const options = ["--config", "config.json", "--output", "out.json", "--max-concurrency", "8"];
let failed = "";
try {
  execFileSync("promptfoo", ["eval", "--no-cache", "--no-progress-bar", ...options], {
    stdio: ["ignore", 2, 2],
    env: {
      ...process.env,
      PROMPTFOO_CONFIG_DIR: process.cwd(),
      PROMPTFOO_DISABLE_TELEMETRY: "1",
      PROMPTFOO_DISABLE_UPDATE: "1",
    },
  });
} catch (error) {
  failed = `${error}`; // what failed is in its report, too
}
const { results } = JSON.parse(readFileSync("out.json"));
const problems = results.results.filter((one) => !one.success).map((one) => one.error);
if (failed && !problems.length) problems.push(failed);
const { prompt, completion } = results.stats.tokenUsage;
const cost = results.results.reduce((sum, one) => sum + one.cost, 0);
writeFileSync(
  "report.json",
  JSON.stringify({ asked: results.results.length, problems, tokens: [prompt, completion], cost }),
);
