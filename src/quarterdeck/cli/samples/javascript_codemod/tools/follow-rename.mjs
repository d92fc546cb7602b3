// A codemod: formatAmount(cents, currency) becomes formatMoney({ cents, currency }).
// Usage: node follow-rename.mjs DIRECTORY. It needs nothing but Node.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const OLD = 'formatAmount';
const NEW = 'formatMoney';
const PROPERTIES = ['cents', 'currency'];

// The arguments of a call whose opening parenthesis is at `start`, and where the call ends.
function argumentsAt(text, start) {
  const found = [];
  let depth = 0;
  let begin = start + 1;
  for (let at = start; at < text.length; at += 1) {
    if ('([{'.includes(text[at])) depth += 1;
    if (')]}'.includes(text[at])) depth -= 1;
    const ends = depth === 0;
    if (ends || (depth === 1 && text[at] === ',')) {
      found.push(text.slice(begin, at).trim());
      begin = at + 1;
    }
    if (ends) return { found, end: at + 1 };
  }
  throw new Error('a call does not end');
}

function property(name, value) {
  return value === name ? name : `${name}: ${value}`;
}

function rewritten(text) {
  let result = '';
  let rest = 0;
  for (const call of text.matchAll(new RegExp(`\\b${OLD}\\b`, 'g'))) {
    result += text.slice(rest, call.index) + NEW;
    rest = call.index + OLD.length;
    if (text[rest] !== '(') continue;
    const { found, end } = argumentsAt(text, rest);
    const fields = found.map((value, place) => property(PROPERTIES[place], value));
    result += `({ ${fields.join(', ')} })`;
    rest = end;
  }
  return result + text.slice(rest);
}

let changed = 0;
const folder = join(process.argv[2], 'src');
for (const name of readdirSync(folder).filter((file) => file.endsWith('.mjs'))) {
  const file = join(folder, name);
  const before = readFileSync(file, 'utf8');
  const after = rewritten(before);
  if (after === before) continue;
  writeFileSync(file, after);
  changed += 1;
  console.log(`rewrote ${name}`);
}
console.log(`${changed} files follow the new name`);
