// A real app server of HTTP/2 in the clear: nghttp2, in C, by way of Node. Tells what it read, a line a request, once a
// request is whole.
const fs = require("fs");
const [port, log] = process.argv.slice(2);

require("http2")
  .createServer((request, response) => {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      // What broke off is no request.
      if (request.aborted || request.stream.rstCode !== 0) return;
      const body = Buffer.concat(pieces);
      const line = `${request.method} ${request.url} ${body.toString("hex")}\n`;
      fs.appendFileSync(log, line, "latin1");
      const answer = `seen ${body.length}`;
      response.setHeader("content-length", answer.length);
      response.end(answer);
    });
  })
  .listen(Number(port), "127.0.0.1");
