<?php
// Verifies the requests of one Hookmill subscription. Needs PHP 7.4 or newer, and nothing else.
//
// verify() gives null for a request that is genuine, otherwise why it is not. It takes the body's bytes as they came in,
// before anything has parsed them (file_get_contents('php://input')), and headers with names in lower case.
const TOLERANCE_S = 300;

function verify(string $method, array $headers, string $body, array $secrets, ?int $now = null): ?string
{
    $header = fn (string $name): string => $headers[$name] ?? '';
    $values = array_values(array_filter(array_map($header, [@HEADERS@]), fn ($value) => $value !== ''));
    if (!$values) {
        return 'the header ' . @HEADER@ . ' is missing';
    }
@if timestamp
    $timestamp = @TIMESTAMP@;
    $age = ($now ?? time()) - @SECONDS@;
    if (abs($age) > TOLERANCE_S) {
        return "the timestamp is $age s old";
    }
@end
@if id
    $id = @ID@;
@end
@if cut
    // The URL is a credential, so it is cut here: put in the whole one, as the subscription has it.
@end
    $content = implode('', [@CONTENT@]);
    $matched = false;
    foreach ($values as $value) {
        preg_match_all('~' . @SIGNATURE@ . '~', $value, $found);
        foreach ($found[1] as $signature) {
            foreach ($secrets as $secret) {
                $matched = matches($secret, $content, $signature) || $matched;
            }
        }
    }
    return $matched ? null : 'no signature matches: another secret, or the body was changed';
}

function first(string $pattern, string $text): string
{
    return preg_match('~' . $pattern . '~', $text, $found) ? $found[1] : '';
}

@if hmac
function matches(string $secret, string $content, string $signature): bool
{
    $prefix = @PREFIX@;
    $text = strncmp($secret, $prefix, strlen($prefix)) === 0 ? substr($secret, strlen($prefix)) : $secret;
    $mac = hash_hmac('@HASH@', $content, @KEY@, true);
    return hash_equals(@ENCODED@, $signature);
}
@end
@if ed25519
function matches(string $secret, string $content, string $signature): bool
{
    $key = base64_decode(preg_replace('~^whpk_~', '', $secret));
    $given = @DECODED@;
    return strlen($given) === SODIUM_CRYPTO_SIGN_BYTES && sodium_crypto_sign_verify_detached($given, $content, $key);
}
@end

// To try it: one request on standard input, as {"method": …, "headers": {…}, "body": base64}.
if (PHP_SAPI === 'cli' && realpath($_SERVER['SCRIPT_FILENAME']) === __FILE__) {
    $request = json_decode(file_get_contents('php://stdin'), true);
    $secrets = array_values(array_filter([getenv('HOOKMILL_SECRET'), getenv('HOOKMILL_SECRET_NEXT')]));
    $why = verify($request['method'], $request['headers'], base64_decode($request['body']), $secrets);
    echo ($why ?? 'genuine') . "\n";
    exit($why === null ? 0 : 1);
}
