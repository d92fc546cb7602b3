import { formatMoney } from './money.mjs';

const NAME_WIDTH = 24;

export function lineTotal(line) {
  return line.quantity * line.cents;
}

export function lineText(line, currency) {
  const name = line.name.slice(0, NAME_WIDTH).padEnd(NAME_WIDTH);
  const total = formatMoney({ cents: lineTotal(line), currency });
  return `${name} ${String(line.quantity).padStart(4)} ${total.padStart(12)}`;
}
