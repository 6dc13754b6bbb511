using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Pollux.DataPlane.Identity;
using Pollux.HostProtocol;

namespace Pollux.Tests.Unit.Hosts;

public sealed class JoiningTests : IDisposable
{
    private readonly TestAuthority _authority = new();
    private readonly string _directory = Directory.CreateTempSubdirectory("pollux-join-").FullName;
    private readonly CancellationTokenSource _patience = new(TimeSpan.FromSeconds(60));

    [Fact]
    public async Task Joining_stores_an_identity_whose_key_only_the_owner_can_read()
    {
        await using var gateway = await SigningGatewayAsync("c1/a");
        using var identity = await Joining.JoinAsync(gateway.Address, Token("c1/a", _authority), _directory, ["10.0.0.1"], _patience.Token);
        Assert.Equal(("c1/a", "10.0.0.1", gateway.Address), (identity.Host, Assert.Single(identity.Addresses), identity.Server));
        using var loaded = new IdentityStore(_directory).Load();
        Assert.True(loaded.Certificate.HasPrivateKey);
        Assert.Equal("c1/a", CertificateNames.HostOf(loaded.Certificate));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(_directory, "identity", "host.key")));
    }

    [Fact]
    public async Task The_addresses_of_a_host_are_kept_in_order_and_may_change()
    {
        await using var gateway = await SigningGatewayAsync("c1/a");
        (await Joining.JoinAsync(gateway.Address, Token("c1/a", _authority), _directory, ["10.0.0.1", "10.1.0.1"], _patience.Token)).Dispose();
        var store = new IdentityStore(_directory);
        Assert.Equal(["10.0.0.1", "10.1.0.1"], Loaded());
        store.SaveAddresses(["10.1.0.1"]);
        Assert.Equal(["10.1.0.1"], Loaded());
        // One address is written as earlier releases do, so that they can read it.
        Assert.Contains("\"version\": 1", File.ReadAllText(Path.Combine(_directory, "identity", "host.json")));
        store.SaveAddresses([]);
        Assert.Empty(Loaded());

        string[] Loaded()
        {
            using var identity = store.Load();
            return [.. identity.Addresses];
        }
    }

    [Fact]
    public async Task A_machine_that_has_joined_is_not_joined_to_another_cluster()
    {
        await using var gateway = await SigningGatewayAsync("c1/a");
        (await Joining.JoinAsync(gateway.Address, Token("c1/a", _authority), _directory, [], _patience.Token)).Dispose();
        Assert.Equal("host.already-joined", await RefusalAsync(gateway.Address, Token("c2/a", _authority)));
    }

    [Fact]
    public async Task The_same_host_joins_again_with_a_new_key_and_keeps_its_addresses()
    {
        await using var gateway = await SigningGatewayAsync("c1/a");
        using var first = await Joining.JoinAsync(gateway.Address, Token("c1/a", _authority), _directory, ["10.1.0.1", "10.2.0.1"], _patience.Token);
        using var second = await Joining.JoinAsync(gateway.Address, Token("c1/a", _authority), _directory, [], _patience.Token);
        Assert.NotEqual(first.Certificate.Thumbprint, second.Certificate.Thumbprint);
        Assert.Equal(["10.1.0.1", "10.2.0.1"], second.Addresses.ToArray());
    }

    [Fact]
    public async Task A_server_of_another_authority_than_the_tokens_never_sees_the_token()
    {
        using var other = new TestAuthority();
        await using var gateway = await SigningGatewayAsync("c1/a");
        var asked = false;
        gateway.OnJoin = _ =>
        {
            asked = true;
            return (200, "");
        };
        Assert.Equal("join.authority", await RefusalAsync(gateway.Address, Token("c1/a", other)));
        Assert.False(asked);
    }

    [Fact]
    public async Task A_refusal_says_what_the_server_said()
    {
        await using var gateway = await SigningGatewayAsync("c1/a");
        gateway.OnJoin = _ => (403, """{"code":"join.token-used","title":"The token was used before.","detail":"d","action":"Make a new one."}""");
        var refusal = await Assert.ThrowsAsync<IdentityException>(() => JoinAsync(gateway.Address, Token("c1/a", _authority)));
        Assert.Equal("join.token-used", refusal.Code);
        Assert.Contains("Make a new one.", refusal.Message);
    }

    [Fact]
    public async Task A_certificate_for_another_host_is_not_stored()
    {
        await using var gateway = await SigningGatewayAsync("c1/b");
        Assert.Equal("join.answer", await RefusalAsync(gateway.Address, Token("c1/a", _authority)));
        Assert.False(new IdentityStore(_directory).Exists);
    }

    [Theory]
    [InlineData("")]
    [InlineData("abc")]
    [InlineData("a.b.c")]
    [InlineData("****.b.c")]
    public async Task Text_that_is_no_token_is_refused_before_anything_is_sent(string token) =>
        Assert.Equal("join.token-malformed", await RefusalAsync(new Uri("https://localhost:9"), token));

    [Fact]
    public async Task An_unreachable_server_is_named() =>
        Assert.Equal("server.unreachable", await RefusalAsync(new Uri("https://localhost:9"), Token("c1/a", _authority)));

    [Fact]
    public void A_host_that_has_not_joined_says_how_to() =>
        Assert.Contains("pollux host add", Assert.Throws<IdentityException>(() => new IdentityStore(_directory).Load()).Message);

    [Fact]
    public async Task An_identity_with_any_byte_changed_or_missing_is_refused_and_one_from_before_the_checksum_is_taken()
    {
        await using var gateway = await SigningGatewayAsync("c1/a");
        (await Joining.JoinAsync(gateway.Address, Token("c1/a", _authority), _directory, ["10.0.0.1"], _patience.Token)).Dispose();
        foreach (var name in new[] { "host.key", "host.crt", "ca.crt", "host.json" })
        {
            var path = Path.Combine(_directory, "identity", name);
            var image = File.ReadAllBytes(path);
            for (var length = 0; length < image.Length; length++)
                Check(path, image[..length], $"{name}, length {length}");
            for (var at = 0; at < image.Length; at++)
            {
                var bad = image.ToArray();
                bad[at] ^= (byte)(1 << at % 8);
                Check(path, bad, $"{name}, byte {at}");
            }
            File.WriteAllBytes(path, image);
        }
        var facts = Path.Combine(_directory, "identity", "host.json");
        File.WriteAllText(facts, $$"""{"host":"c1/a","server":"{{gateway.Address}}","address":"10.0.0.1"}""");
        new IdentityStore(_directory).Load().Dispose();
        File.WriteAllText(facts, $$"""{"host":"c1/a","server":"{{gateway.Address}}","address":null,"version":3,"checksum":"0"}""");
        Assert.Contains("Install the newer one", Assert.Throws<IdentityException>(() => new IdentityStore(_directory).Load()).Message);

        void Check(string path, byte[] bad, string what)
        {
            File.WriteAllBytes(path, bad);
            try
            {
                using var loaded = new IdentityStore(_directory).Load();
                Assert.Fail($"{what} was believed: {loaded.Host}, {loaded.Server}, {string.Join(" ", loaded.Addresses)}");
            }
            catch (IdentityException)
            {
                // Refused, as it must be.
            }
        }
    }

    public void Dispose()
    {
        _authority.Dispose();
        _patience.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private static string Token(string host, TestAuthority authority) => string.Join('.',
        Base64Url.EncodeToString(Encoding.UTF8.GetBytes(host)),
        Base64Url.EncodeToString(new byte[16]),
        Base64Url.EncodeToString(SHA256.HashData(authority.Certificate.RawData)));

    private async Task<FakeGateway> SigningGatewayAsync(string host)
    {
        var gateway = await FakeGateway.StartAsync(_authority);
        gateway.OnJoin = request => (200, JsonSerializer.Serialize(
            new JoinAnswer(host, _authority.SignHost(request.CertificateRequestPem, host), _authority.CertificatePem),
            JoiningJson.Default.JoinAnswer));
        return gateway;
    }

    private Task<HostIdentity> JoinAsync(Uri server, string token) => Joining.JoinAsync(server, token, _directory, [], _patience.Token);

    private async Task<string> RefusalAsync(Uri server, string token) =>
        (await Assert.ThrowsAsync<IdentityException>(() => JoinAsync(server, token))).Code;
}
