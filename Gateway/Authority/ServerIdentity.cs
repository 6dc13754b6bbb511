using System.Security.Cryptography.X509Certificates;

namespace Pollux.Gateway.Authority;

/// <summary>The server's own certificate, kept over restarts and renewed when it ends soon or lacks a name.</summary>
internal static class ServerIdentity
{
    private static readonly TimeSpan RenewBefore = TimeSpan.FromDays(90);

    public static X509Certificate2 LoadOrIssue(string directory, CertificateAuthority authority, ServerNames names, TimeProvider time)
    {
        var (certificatePath, keyPath) = (Path.Combine(directory, "server.crt"), Path.Combine(directory, "server.key"));
        if (File.Exists(certificatePath) && File.Exists(keyPath))
        {
            var present = X509Certificate2.CreateFromPemFile(certificatePath, keyPath);
            if (present.NotAfter.ToUniversalTime() > time.GetUtcNow().UtcDateTime + RenewBefore
                && present.IssuerName.RawData.AsSpan().SequenceEqual(authority.Certificate.SubjectName.RawData)
                && names.CoveredBy(present))
                return present;
            present.Dispose();
        }
        var issued = authority.IssueServer(names);
        PrivateFile.Write(keyPath, issued.GetECDsaPrivateKey()!.ExportPkcs8PrivateKeyPem());
        PrivateFile.Write(certificatePath, issued.ExportCertificatePem());
        return issued;
    }
}
