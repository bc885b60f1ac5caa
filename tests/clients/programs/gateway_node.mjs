// Calls of OpenAI's package for JavaScript: plain, streamed, with tools, in both APIs, all at once.
import { writeFileSync } from "node:fs";

import OpenAI from "openai";

const client = new OpenAI();
const model = "o4-mini";
const problems = [];
let asked = 0;

async function check(what, call) {
  asked += 1;
  try {
    const text = await call();
    if (!text) problems.push(`${what}: empty`);
  } catch (error) {
    problems.push(`${what}: ${error}`);
  }
}

const messages = (n) => [{ role: "user", content: `Which colour has cat ${n}?` }];
const tools = [
  {
    type: "function",
    function: {
      name: "colour_of",
      parameters: { type: "object", properties: { cat: { type: "integer" } }, required: ["cat"] },
    },
  },
];

async function chatStream(n) {
  let text = "";
  const stream = await client.chat.completions.create({ model, messages: messages(n), stream: true });
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  return text;
}

async function tool(n) {
  const answer = await client.chat.completions.create({
    model, messages: messages(n), tools, tool_choice: "required",
  });
  return JSON.parse(answer.choices[0].message.tool_calls[0].function.arguments);
}

async function responseStream(n) {
  let text = "";
  const stream = await client.responses.create({ model, input: `Cat ${n}?`, stream: true });
  for await (const event of stream) if (event.type === "response.output_text.delta") text += event.delta;
  return text;
}

await Promise.all(
  [1, 2, 3, 4].flatMap((n) => [
    check("chat", async () => (await client.chat.completions.create({ model, messages: messages(n) })).choices[0].message.content),
    check("chat stream", () => chatStream(n)),
    check("tool", () => tool(n)),
    check("response", async () => (await client.responses.create({ model, input: `Cat ${n}?` })).output_text),
    check("response stream", () => responseStream(n)),
  ]),
);
writeFileSync("report.json", JSON.stringify({ asked, problems }));
