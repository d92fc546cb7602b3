import { lineText, lineTotal } from './line.mjs';
import * as money from './money.mjs';

export function totals(invoice) {
  const net = invoice.lines.reduce((sum, line) => sum + lineTotal(line), 0);
  const discount = money.share(net, invoice.discountPercent ?? 0);
  const tax = money.share(net - discount, invoice.taxPercent);
  return { net, discount, tax, gross: net - discount + tax };
}

export function invoiceText(invoice) {
  const { net, discount, tax, gross } = totals(invoice);
  const { currency } = invoice;
  const rows = invoice.lines.map((line) => lineText(line, currency));
  rows.push(row('Net', money.formatAmount(net, currency)));
  if (discount > 0) rows.push(row('Discount', money.formatAmount(-discount, currency)));
  rows.push(row(`Tax ${invoice.taxPercent} %`, money.formatAmount(tax, currency)));
  rows.push(row('To pay', money.formatAmount(gross, currency)));
  return `${rows.join('\n')}\n`;
}

function row(name, amount) {
  return `${name.padEnd(29)} ${amount.padStart(12)}`;
}
