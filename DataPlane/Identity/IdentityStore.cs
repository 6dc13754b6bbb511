using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using System.Text.Json.Serialization;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Identity;

/// <summary>The identity on disk: <c>identity/</c> in the data directory holds <c>host.key</c> (mode 0600), <c>host.crt</c>, <c>ca.crt</c>
/// and <c>host.json</c>, which is written last: it makes the identity complete.</summary>
public sealed class IdentityStore(string dataDirectory)
{
    private readonly string _directory = Path.Combine(dataDirectory, "identity");

    public bool Exists => File.Exists(Path.Combine(_directory, "host.json"));

    /// <exception cref="IdentityException">There is none, or it cannot be used.</exception>
    public HostIdentity Load()
    {
        if (!Exists)
            throw IdentityException.NotJoined(_directory);
        try
        {
            var facts = JsonSerializer.Deserialize(
                File.ReadAllBytes(Path.Combine(_directory, "host.json")), IdentityJson.Default.IdentityFacts)
                ?? throw new JsonException("host.json is empty");
            var certificate = X509Certificate2.CreateFromPemFile(
                Path.Combine(_directory, "host.crt"), Path.Combine(_directory, "host.key"));
            var authority = X509CertificateLoader.LoadCertificateFromFile(Path.Combine(_directory, "ca.crt"));
            if (CertificateNames.HostOf(certificate) != facts.Host)
                throw new CryptographicException($"host.crt does not name {facts.Host}");
            return new HostIdentity(facts.Host, certificate, authority, new Uri(facts.Server), facts.Address);
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
        Put("host.json", JsonSerializer.Serialize(facts, IdentityJson.Default.IdentityFacts));
    }

    private void Put(string name, string text) => DurableFile.Replace(Path.Combine(_directory, name), text);
}

/// <summary>What <c>host.json</c> says.</summary>
public sealed record IdentityFacts(string Host, string Server, string? Address);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(IdentityFacts))]
internal sealed partial class IdentityJson : JsonSerializerContext;
