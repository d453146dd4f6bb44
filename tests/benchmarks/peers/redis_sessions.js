// Makes calls of redis-sessions for another process, and times them: a line of JSON in, a line of JSON out.
//
//     node redis_sessions.js FOLDER PORT
//
// FOLDER is where `npm install redis-sessions` was called, PORT that of Redis. In:
//     {"call": "get", "options": [{...}, {...}], "atOnce": false}
// Out: the nanoseconds of each call, or of all together if all were made at once, and their answers:
//     {"nanoseconds": [...], "answers": [...]}, or {"error": "..."}
// It ends when its standard input does.
"use strict";

const { createRequire } = require("node:module");
const readline = require("node:readline");

const [folder, port] = process.argv.slice(2);
const RedisSessions = createRequire(`${folder}/`)("redis-sessions").default;
// `wipe: 0`: nothing is tidied up on the side while something is timed.
const sessions = new RedisSessions({ host: "127.0.0.1", port: Number(port), wipe: 0 });

const calls = {
  activity: (options) => sessions.activity(options),
  create: (options) => sessions.create(options),
  get: (options) => sessions.get(options),
  kill: (options) => sessions.kill(options),
  killall: (options) => sessions.killall(options),
  ping: () => sessions.ping(),
  set: (options) => sessions.set(options),
  soapp: (options) => sessions.soapp(options),
  soid: (options) => sessions.soid(options),
  wipe: () => sessions._wipe(),
};

// Lists are not sent, but what is needed to tell whether they are right.
function brief(answer) {
  if (!Array.isArray(answer?.sessions)) return answer;
  return {
    sessions: answer.sessions.length,
    users: new Set(answer.sessions.map((session) => session.id)).size,
    data: [...new Set(answer.sessions.map((session) => JSON.stringify(session.d)))],
  };
}

async function oneByOne(call, options) {
  const nanoseconds = [];
  const answers = [];
  for (const some of options) {
    const started = process.hrtime.bigint();
    const answer = await call(some);
    nanoseconds.push(Number(process.hrtime.bigint() - started));
    answers.push(brief(answer));
  }
  return { nanoseconds, answers };
}

// As its own test does: every call is made before any answer is waited for.
async function allAtOnce(call, options) {
  const started = process.hrtime.bigint();
  const answers = await Promise.all(options.map((some) => call(some)));
  const nanoseconds = [Number(process.hrtime.bigint() - started)];
  return { nanoseconds, answers: answers.map(brief) };
}

async function answered(line) {
  const { call, options, atOnce } = JSON.parse(line);
  if (call === "memory") {
    global.gc();
    return { nanoseconds: [], answers: [process.memoryUsage()] };
  }
  return await (atOnce ? allAtOnce : oneByOne)(calls[call], options);
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let reply;
    try {
      reply = await answered(line);
    } catch (error) {
      reply = { error: String(error) };
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  }
  process.exit(0);
}

// Whoever started this may end while a call is under way: nobody waits for its answer then.
process.stdin.on("end", () => process.exit(0));
main();
