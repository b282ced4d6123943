# Verifies the requests of one Hookmill subscription. Needs Ruby 3.0 or newer, and nothing else.
#
# `verify` gives nil for a request that is genuine, otherwise why it is not. It takes the body's bytes as they came in,
# before anything has parsed them (Rack: request.body.read), and headers with names in lower case.
require 'json'
require 'openssl'
require 'time'

TOLERANCE_S = 300

def verify(method, headers, body, secrets, now = Time.now.to_i)
  values = [@HEADERS@].map { |name| headers[name].to_s }.reject(&:empty?)
  return 'the header ' + @HEADER@ + ' is missing' if values.empty?
@if timestamp
  timestamp = @TIMESTAMP@
  age = begin
    now - @SECONDS@
  rescue ArgumentError
    return 'the timestamp cannot be read'
  end
  return "the timestamp is #{age} s old" if age.abs > TOLERANCE_S
@end
@if id
  id = @ID@
@end
@if cut
  # The URL is a credential, so it is cut here: put in the whole one, as the subscription has it.
@end
  content = [@CONTENT@].map(&:b).join
  signatures = values.flat_map { |value| value.scan(Regexp.new(@SIGNATURE@)).flatten }
  matched = secrets.product(signatures).map { |secret, signature| matches(secret, content, signature) }
  matched.any? ? nil : 'no signature matches: another secret, or the body was changed'
end

def first(pattern, text)
  text[Regexp.new(pattern), 1].to_s
end

@if hmac
def matches(secret, content, signature)
  text = secret.delete_prefix(@PREFIX@)
  mac = OpenSSL::HMAC.digest('@HASH@', @KEY@, content)
  expected = @ENCODED@
  expected.bytesize == signature.bytesize && OpenSSL.fixed_length_secure_compare(expected, signature)
end
@end
@if ed25519
def matches(secret, content, signature)
  raw = secret.delete_prefix('whpk_').unpack1('m')
  key = OpenSSL::PKey.read(['302a300506032b6570032100'].pack('H*') + raw)
  key.verify(nil, @DECODED@, content)
rescue OpenSSL::PKey::PKeyError
  false
end
@end

# To try it: one request on standard input, as {"method": …, "headers": {…}, "body": base64}.
if $PROGRAM_NAME == __FILE__
  request = JSON.parse($stdin.read)
  secrets = [ENV['HOOKMILL_SECRET'], ENV['HOOKMILL_SECRET_NEXT']].compact.reject(&:empty?)
  why = verify(request['method'], request['headers'], request['body'].unpack1('m'), secrets)
  puts why || 'genuine'
  exit why ? 1 : 0
end
