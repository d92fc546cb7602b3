// Plays the real clients against a running server and prints what they made of it, as one JSON line.
import { Chat, useChat, useCompletion } from '@ai-sdk/react';
import {
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  readUIMessageStream,
} from 'ai';
import { createElement } from 'react';
import { renderToString } from 'react-dom/server';

const [url, token] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${token}` };
const transport = (body = {}) =>
  new DefaultChatTransport({ api: `${url}/api/stream`, headers, body });
const text = message =>
  message.parts.filter(part => part.type === 'text').map(part => part.text).join('|');
const until = async (holds, what) => {
  for (let tries = 0; tries < 500; tries++) {
    if (holds()) return;
    await new Promise(resolve => setTimeout(resolve, 20));
  }
  throw new Error(`never: ${what}`);
};
// What a hook returns, without a browser: it is rendered once on the server.
const hook = use => {
  let found;
  renderToString(createElement(() => ((found = use()), null)));
  return found;
};

function chatOf(id, body, more = {}) {
  const seen = { data: 0, errors: [], finish: null };
  const chat = new Chat({
    id,
    transport: transport(body),
    onData: () => void seen.data++,
    onError: error => void seen.errors.push(error.message),
    onFinish: ({ finishReason, isError, isAbort }) =>
      void (seen.finish = { finishReason, isError, isAbort }),
    ...more,
  });
  return { chat, seen };
}

const shown = ({ chat, seen }) => ({
  status: chat.status,
  error: chat.error?.message ?? null,
  last: chat.messages.at(-1),
  ...seen,
});

const scenarios = {
  async chat() {
    const one = chatOf('chat-one', { recipe: 'speak' });
    await one.chat.sendMessage({ text: 'Say hello.' });
    const again = chatOf('chat-one', {});
    await again.chat.resumeStream();
    return { ...shown(one), text: text(one.chat.lastMessage), resumed: again.chat.lastMessage };
  },
  async newChat() {
    const one = chatOf('UnSeenChat01', {});
    await one.chat.resumeStream();
    return { ...shown(one), messages: one.chat.messages.length };
  },
  async retried() {
    const one = chatOf('chat-retried', { recipe: 'retried' });
    await one.chat.sendMessage({ text: 'Try twice.' });
    return { ...shown(one), text: text(one.chat.lastMessage) };
  },
  async parallel() {
    const one = chatOf('chat-parallel', { recipe: 'parallel' });
    await one.chat.sendMessage({ text: 'Both at once.' });
    return { ...shown(one), text: text(one.chat.lastMessage) };
  },
  async tools() {
    const one = chatOf('chat-tools', { recipe: 'tools' });
    await one.chat.sendMessage({ text: 'Use a tool.' });
    return shown(one);
  },
  async approved() {
    const one = chatOf('chat-approved', { recipe: 'asking' }, {
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
    });
    await one.chat.sendMessage({ text: 'Ask me.' });
    const waiting = one.chat.lastMessage.parts.find(part => part.state === 'approval-requested');
    const first = one.seen.finish;
    await one.chat.addToolApprovalResponse({ id: waiting.approval.id, approved: true });
    await until(
      () => one.chat.status === 'ready' && one.seen.finish?.finishReason === 'stop',
      'the approved mission ends',
    );
    const replay = chatOf('chat-approved', {});
    await replay.chat.resumeStream();
    return { first, ...shown(one), text: text(one.chat.lastMessage), replayed: replay.chat.lastMessage };
  },
  async failed() {
    const one = chatOf('chat-failed', { recipe: 'failing' });
    await one.chat.sendMessage({ text: 'Fail.' });
    return shown(one);
  },
  async stopped() {
    const one = chatOf('chat-stopped', { recipe: 'endless' });
    const sending = one.chat.sendMessage({ text: 'Go on for ever.' });
    const spoken = message => message?.role === 'assistant' && text(message);
    await until(() => spoken(one.chat.lastMessage), 'the first words');
    await fetch(`${url}/api/missions/chat-stopped/stream/stop`, { method: 'POST', headers });
    await sending;
    return shown(one);
  },
  async hookChat() {
    const chat = hook(() => useChat({ id: 'hook-chat', transport: transport({ recipe: 'speak' }) }));
    await chat.sendMessage({ text: 'Say hello.' });
    const again = chatOf('hook-chat', {});
    await again.chat.resumeStream();
    return { text: text(again.chat.lastMessage) };
  },
  async hookCompletion() {
    const api = `${url}/api/stream`;
    const errors = [];
    const onError = error => void errors.push(error.message);
    const options = { api, headers, body: { recipe: 'speak' }, onError };
    const completion = await hook(() => useCompletion(options)).complete('Say hello.');
    const failing = { ...options, body: { recipe: 'failing' } };
    await hook(() => useCompletion(failing)).complete('Fail.');
    return { completion, errors };
  },
  async hundred() {
    const errors = [];
    const texts = await Promise.all(
      Array.from({ length: 100 }, async (_, number) => {
        const stream = await transport({ recipe: 'speak' }).sendMessages({
          chatId: `hundred-${number}`,
          trigger: 'submit-message',
          messages: [{ id: 'u', role: 'user', parts: [{ type: 'text', text: `Hello ${number}` }] }],
        });
        let last;
        for await (const message of readUIMessageStream({
          stream,
          onError: error => void errors.push(String(error)),
        }))
          last = message;
        return { text: text(last), usage: last.metadata.usage };
      }),
    );
    return { errors, texts };
  },
};

const results = {};
for (const [name, play] of Object.entries(scenarios)) {
  try {
    results[name] = await play();
  } catch (error) {
    results[name] = { thrown: String(error?.stack ?? error) };
  }
}
console.log(JSON.stringify(results));
process.exit(0);
