// One scenario with Microsoft's clients for Node, as JSON on standard output. The argument is what worker.py was told.
//
// Two things differ from the defaults. The agent has the connection limit of all clients here. And where the origin speaks plain
// http, the last policy takes the s off https: the library adds a token to https requests only. Request ids, user agent, retries
// and logging are what the libraries do by themselves.

import http from "node:http";
import https from "node:https";
import assert from "node:assert/strict";
import { ManagedIdentityCredential } from "@azure/identity";
import { ResourceManagementClient } from "@azure/arm-resources";

const SCOPE = "https://management.azure.com/.default";
const SUBSCRIPTION = "00000000-0000-4000-8000-00000000beef";
const CONNECTIONS = 128;
const BATCH = 500;

const job = JSON.parse(process.argv[2]);
for (const url of [job.imds, job.arm]) assert.equal(new URL(url).hostname, "127.0.0.1");
process.env.AZURE_POD_IDENTITY_AUTHORITY_HOST = job.imds;
const credential = new ManagedIdentityCredential();

const counts = async () => (await fetch(`${job.imds}/control/counts`)).json();
const microseconds = ({ user, system }) => user + system;

function connect() {
  const plain = job.arm.startsWith("http:");
  const agent = new (plain ? http : https).Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const client = new ResourceManagementClient(credential, SUBSCRIPTION, {
    endpoint: job.arm.replace(/^http:/, "https:"),
    credentials: { scopes: [SCOPE] },
  });
  const toOrigin = {
    name: "toOrigin",
    sendRequest(request, next) {
      request.agent = agent;
      if (plain) {
        request.url = request.url.replace(/^https:/, "http:");
        request.allowInsecureConnection = true;
      }
      return next(request);
    },
  };
  client.pipeline.addPolicy(toOrigin, { afterPhase: "Sign" });
  const signable = {
    name: "signable",
    sendRequest(request, next) {
      request.url = request.url.replace(/^http:/, "https:");
      return next(request);
    },
  };
  // The link to a next page is plain, too.
  if (plain) client.pipeline.addPolicy(signable, { beforePolicies: ["bearerTokenAuthenticationPolicy"] });
  return client;
}

async function fanout() {
  const client = connect();
  assert.equal((await client.resourceGroups.get("warm")).name, "warm");

  const before = await counts();
  const names = Array.from({ length: job.work }, (_, number) => `group-${String(number).padStart(6, "0")}`);
  const answers = [];
  const times = [];
  let next = 0;
  const work = async () => {
    while (next < names.length) {
      const name = names[next++];
      const asked = performance.now();
      const group = await client.resourceGroups.get(name);
      times.push(performance.now() - asked);
      answers.push(group.name);
    }
  };
  const cpu = process.cpuUsage();
  const began = performance.now();
  await Promise.all(Array.from({ length: job.size }, work));
  const seconds = (performance.now() - began) / 1e3;
  const used = microseconds(process.cpuUsage(cpu));
  const after = await counts();
  assert.deepEqual(answers.sort(), names);
  times.sort((a, b) => a - b);
  return {
    values: {
      rate: job.work / seconds,
      cpu: used / job.work,
      p50: times[Math.floor(times.length / 2)],
      p99: times[Math.floor(times.length * 0.99)],
      rss: process.resourceUsage().maxRSS / 1024,
      origin_cpu: ((after.cpu - before.cpu) / job.work) * 1e6,
    },
  };
}

async function pages() {
  const client = connect();
  const list = async () => {
    const names = [];
    for await (const resource of client.resources.list()) names.push(resource.name);
    return names;
  };
  let names = await list();
  const cpu = process.cpuUsage();
  const began = performance.now();
  for (let lists = 0; lists < job.work; lists++) names = await list();
  const seconds = (performance.now() - began) / 1e3;
  const used = microseconds(process.cpuUsage(cpu));
  assert.equal(new Set(names).size, names.length);
  const items = job.work * names.length;
  return {
    values: {
      rate: items / seconds,
      cpu: used / items,
      items: names.length,
      rss: process.resourceUsage().maxRSS / 1024,
    },
  };
}

async function herd() {
  const began = performance.now();
  const outcomes = await Promise.allSettled(Array.from({ length: job.size }, () => credential.getToken(SCOPE)));
  const seconds = (performance.now() - began) / 1e3;
  const errors = {};
  for (const outcome of outcomes) {
    if (outcome.status === "rejected") errors[outcome.reason.name] = (errors[outcome.reason.name] ?? 0) + 1;
    else assert.match(outcome.value.token, /^opaque-/);
  }
  const failures = outcomes.filter((outcome) => outcome.status === "rejected").length;
  return { values: { failures, unanswered: 0, seconds }, errors };
}

async function warm() {
  await credential.getToken(SCOPE);
  const samples = [];
  for (let batch = 0; batch < job.work / BATCH; batch++) {
    const began = performance.now();
    for (let call = 0; call < BATCH; call++) await credential.getToken(SCOPE);
    samples.push(((performance.now() - began) / BATCH) * 1e6);
  }
  samples.sort((a, b) => a - b);
  return { values: { ns: samples[Math.floor(samples.length / 2)] } };
}

console.log(JSON.stringify(await { fanout, herd, pages, warm }[job.scenario]()));
process.exit(0);
