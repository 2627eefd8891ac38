// A conversation as the messages that the model is sent.

// `turns` with the text of their documents in `texts`, a Map by id.
export function messagesOf(system, turns, texts) {
  const messages = [];
  if (system.trim()) messages.push({ role: "system", content: system });
  for (const turn of turns) {
    const content = turn.role === "user" ? asked(turn, texts) : turn.text;
    if (turn.role === "assistant" && !content) continue; // It failed before it began.
    const before = messages.at(-1);
    // Many templates insist on turns that alternate.
    if (before?.role === turn.role) before.content += `\n\n${content}`;
    else messages.push({ role: turn.role, content });
  }
  return messages.map(({ role, content }) => ({ role, content: content.toWellFormed() }));
}

// Documents come first: a question that follows them is answered better, and the same documents with
// another question are found in the server's prefix cache.
function asked(turn, texts) {
  const documents = turn.documents.map(
    ({ id, name }) => `Document "${name}", between the triple quotes:\n\n"""\n${texts.get(id) ?? ""}\n"""`,
  );
  return [...documents, turn.text].join("\n\n");
}

export function charactersOf(messages) {
  return messages.reduce((sum, message) => sum + message.content.length, 0);
}
