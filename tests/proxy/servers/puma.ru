# A real app server: Puma's parser, in C. Tells what it read, a line a request, once a request is whole.
log = File.open(ENV.fetch("SEEN"), "a")
log.sync = true

run(lambda do |env|
  body = env["rack.input"].read
  log.write("#{env["REQUEST_METHOD"]} #{env["REQUEST_URI"]} #{body.unpack1("H*")}\n")
  answer = "seen #{body.bytesize}"
  [200, { "Content-Length" => answer.bytesize.to_s }, [answer]]
end)
