// A real app server: Node's own parser. Tells what it read, a line a request, once a request is whole.
const fs = require("fs");
const [port, log] = process.argv.slice(2);

require("http")
  .createServer({ keepAliveTimeout: 60000 }, (request, response) => {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      if (!request.complete) return;
      const body = Buffer.concat(pieces);
      const line = `${request.method} ${request.url} ${body.toString("hex")}\n`;
      fs.appendFileSync(log, line);
      response.end(`seen ${body.length}`);
    });
  })
  .on("clientError", (_, socket) => socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
  .listen(Number(port), "127.0.0.1");
