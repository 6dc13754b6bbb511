using System.Collections.Immutable;
using System.Globalization;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Pollux.DataPlane.Core;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Identity;

/// <summary>The identity on disk: <c>identity/</c> in the data directory holds <c>host.key</c> (mode 0600), <c>host.crt</c>, <c>ca.crt</c>
/// and <c>host.json</c>, which is written last: it makes the identity complete. From its version 1 it carries a checksum over all four;
/// a file without version, from before, is taken without. Version 2 is one with several
/// addresses; with one address the file stays as it was.</summary>
public sealed class IdentityStore(string dataDirectory)
{
    private const int VersionNow = 2;

    private readonly string _directory = Path.Combine(dataDirectory, "identity");

    public bool Exists => File.Exists(Path.Combine(_directory, "host.json"));

    /// <summary>Changes whenever it is stored.</summary>
    public DateTime StoredAt => File.GetLastWriteTimeUtc(PathOf("host.json"));

    /// <exception cref="IdentityException">There is none, or it cannot be used.</exception>
    public HostIdentity Load()
    {
        if (!Exists)
            throw IdentityException.NotJoined(_directory);
        try
        {
            var facts = JsonSerializer.Deserialize(File.ReadAllBytes(PathOf("host.json")), IdentityJson.Default.IdentityFacts)
                ?? throw new JsonException("host.json is empty");
            if (facts.Version > VersionNow)
                throw IdentityException.Newer(_directory, facts.Version.Value, VersionNow);
            var before = facts is { Version: null, Checksum: null };
            if (!before && (facts.Version is not >= 1 || facts.Checksum != ChecksumOf(facts)))
                throw new CryptographicException("the files are damaged: their checksum is not that of host.json");
            var certificate = X509Certificate2.CreateFromPemFile(PathOf("host.crt"), PathOf("host.key"));
            var authority = X509CertificateLoader.LoadCertificateFromFile(PathOf("ca.crt"));
            if (CertificateNames.HostOf(certificate) != facts.Host)
                throw new CryptographicException($"host.crt does not name {facts.Host}");
            return new HostIdentity(facts.Host, certificate, authority, new Uri(facts.Server), facts.AllAddresses);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or CryptographicException or UriFormatException)
        {
            throw IdentityException.Unusable(_directory, e);
        }
    }

    /// <summary>Stores a new identity durably.</summary>
    public void Save(IdentityFacts facts, ECDsa key, string certificatePem, string authorityPem)
    {
        Directory.CreateDirectory(_directory, DurableFile.OwnerOnly | UnixFileMode.UserExecute);
        Put("host.key", key.ExportPkcs8PrivateKeyPem());
        Put("host.crt", certificatePem);
        Put("ca.crt", authorityPem);
        PutFacts(facts);
    }

    /// <summary>Changes the addresses of a host that has joined.</summary>
    /// <param name="addresses">None: the one used to reach the server.</param>
    /// <exception cref="IdentityException">It has not joined, or what is stored cannot be used.</exception>
    public void SaveAddresses(ImmutableArray<string> addresses)
    {
        using var present = Load();
        PutFacts(IdentityFacts.Of(present.Host, present.Server.ToString(), addresses));
    }

    private void PutFacts(IdentityFacts facts) => Put("host.json", JsonSerializer.Serialize(
        facts with { Version = facts.Addresses is null ? 1 : VersionNow, Checksum = ChecksumOf(facts) }, IdentityJson.Default.IdentityFacts));

    /// <summary>CRC-32C of facts and files: damage is meant, not forgery, against which the certificates stand.</summary>
    private string ChecksumOf(IdentityFacts facts)
    {
        byte[] all =
        [
            .. Encoding.UTF8.GetBytes($"{facts.Host}\0{facts.Server}\0{facts.Address}\0"),
            .. Encoding.UTF8.GetBytes(string.Concat((facts.Addresses ?? []).Select(static address => address + '\0'))),
            .. File.ReadAllBytes(PathOf("host.key")), 0, .. File.ReadAllBytes(PathOf("host.crt")), 0, .. File.ReadAllBytes(PathOf("ca.crt")),
        ];
        return Crc32C.Compute(all).ToString("x8", CultureInfo.InvariantCulture);
    }

    private string PathOf(string name) => Path.Combine(_directory, name);

    private void Put(string name, string text) => DurableFile.Replace(PathOf(name), text);
}

/// <summary>What <c>host.json</c> says.</summary>
public sealed record IdentityFacts(string Host, string Server, string? Address)
{
    /// <summary>All of several; null if there are not several.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ImmutableArray<string>? Addresses { get; init; }

    public int? Version { get; init; }
    public string? Checksum { get; init; }

    [JsonIgnore]
    public ImmutableArray<string> AllAddresses => Addresses ?? (Address is { } only ? [only] : []);

    public static IdentityFacts Of(string host, string server, ImmutableArray<string> addresses) =>
        new(host, server, addresses is [var first, ..] ? first : null) { Addresses = addresses.Length > 1 ? addresses : null };
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(IdentityFacts))]
internal sealed partial class IdentityJson : JsonSerializerContext;
