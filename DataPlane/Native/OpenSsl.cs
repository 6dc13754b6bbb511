using System.Runtime.InteropServices;
using System.Text;

namespace Pollux.DataPlane.Native;

/// <summary>What TLS of the links needs of OpenSSL 3 (libssl.so.3, which the runtime uses too). Errors of a thread wait in its queue:
/// whoever sees a failure empties it (<see cref="TakeErrors"/>), so that the next call starts with none.</summary>
internal static unsafe partial class OpenSsl
{
    private const string Ssl = "libssl.so.3";
    private const string Crypto = "libcrypto.so.3";

    // ssl.h
    public const int ErrorWantRead = 2;
    public const int ErrorWantWrite = 3;
    public const int ErrorZeroReturn = 6;
    public const int ControlMode = 33;
    public const int ControlSessionCacheMode = 44;
    public const int ControlMinProtocolVersion = 123;
    public const int ModeEnablePartialWrite = 1;
    public const int ModeAcceptMovingWriteBuffer = 2;
    public const ulong OptionIgnoreUnexpectedEnd = 1 << 7;
    public const ulong OptionNoTicket = 1 << 14;
    public const int VerifyPeer = 1;
    public const int VerifyFailIfNoPeerCertificate = 2;
    public const int KeyUpdateNotRequested = 0;

    // bio.h
    public const int BioSourceSink = 0x400;
    public const int BioRetries = 0x1 | 0x2 | 0x8;
    public const int BioFlush = 11;

    // prov_ssl.h
    public const int Tls13 = 0x304;

    // obj_mac.h
    public const int KeyTypeRsa = 6;
    public const int KeyTypeEc = 408;

    private const int ErrorTextBytes = 256;

    /// <summary>Null: both libraries are there; otherwise what is missing.</summary>
    public static string? Missing { get; } =
        NativeLibrary.TryLoad(Crypto, out _) && NativeLibrary.TryLoad(Ssl, out _) ? null : $"OpenSSL 3 ({Ssl}, {Crypto}) is not installed";

    /// <summary>The reasons in this thread's queue, which is empty afterwards.</summary>
    public static string TakeErrors()
    {
        var text = new StringBuilder();
        var buffer = stackalloc byte[ErrorTextBytes];
        for (var code = GetError(); code != 0; code = GetError())
        {
            ErrorText(code, buffer, ErrorTextBytes);
            text.Append(text.Length == 0 ? "" : ", ").Append(Marshal.PtrToStringUTF8((nint)buffer));
        }
        return text.Length == 0 ? "no reason given" : text.ToString();
    }

    [LibraryImport(Ssl, EntryPoint = "TLS_method")]
    public static partial nint TlsMethod();

    [LibraryImport(Ssl, EntryPoint = "SSL_CTX_new")]
    public static partial nint NewContext(nint method);

    [LibraryImport(Ssl, EntryPoint = "SSL_CTX_free")]
    public static partial void FreeContext(nint context);

    [LibraryImport(Ssl, EntryPoint = "SSL_CTX_ctrl")]
    public static partial long Control(nint context, int command, long argument, nint pointer);

    [LibraryImport(Ssl, EntryPoint = "SSL_CTX_set_options")]
    public static partial ulong SetOptions(nint context, ulong options);

    [LibraryImport(Ssl, EntryPoint = "SSL_CTX_set_num_tickets")]
    public static partial int SetTickets(nint context, nuint count);

    [LibraryImport(Ssl, EntryPoint = "SSL_CTX_set_ciphersuites", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int SetCipherSuites(nint context, string suites);

    [LibraryImport(Ssl, EntryPoint = "SSL_CTX_set_verify")]
    public static partial void SetVerify(nint context, int mode, nint callback);

    [LibraryImport(Ssl, EntryPoint = "SSL_CTX_set_cert_verify_callback")]
    public static partial void SetCertificateVerify(nint context, delegate* unmanaged<nint, void*, int> callback, void* argument);

    [LibraryImport(Ssl, EntryPoint = "SSL_CTX_use_certificate_ASN1")]
    public static partial int UseCertificate(nint context, int length, byte* der);

    [LibraryImport(Ssl, EntryPoint = "SSL_CTX_use_PrivateKey_ASN1")]
    public static partial int UsePrivateKey(int type, nint context, byte* der, long length);

    [LibraryImport(Ssl, EntryPoint = "SSL_new")]
    public static partial nint New(nint context);

    [LibraryImport(Ssl, EntryPoint = "SSL_free")]
    public static partial void Free(nint ssl);

    /// <summary>It owns the BIO from now on.</summary>
    [LibraryImport(Ssl, EntryPoint = "SSL_set_bio")]
    public static partial void SetBio(nint ssl, nint received, nint toSend);

    [LibraryImport(Ssl, EntryPoint = "SSL_set_accept_state")]
    public static partial void SetAccepts(nint ssl);

    [LibraryImport(Ssl, EntryPoint = "SSL_set_connect_state")]
    public static partial void SetConnects(nint ssl);

    [LibraryImport(Ssl, EntryPoint = "SSL_do_handshake")]
    public static partial int Handshake(nint ssl);

    [LibraryImport(Ssl, EntryPoint = "SSL_read")]
    public static partial int Read(nint ssl, byte* buffer, int bytes);

    [LibraryImport(Ssl, EntryPoint = "SSL_write")]
    public static partial int Write(nint ssl, byte* buffer, int bytes);

    /// <returns>Decrypted bytes that wait to be read.</returns>
    [LibraryImport(Ssl, EntryPoint = "SSL_pending")]
    public static partial int Pending(nint ssl);

    [LibraryImport(Ssl, EntryPoint = "SSL_key_update")]
    public static partial int UpdateKey(nint ssl, int request);

    [LibraryImport(Ssl, EntryPoint = "SSL_get_error")]
    public static partial int ErrorOf(nint ssl, int result);

    [LibraryImport(Crypto, EntryPoint = "BIO_get_new_index")]
    public static partial int NewBioIndex();

    [LibraryImport(Crypto, EntryPoint = "BIO_meth_new", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint NewBioMethod(int type, string name);

    [LibraryImport(Crypto, EntryPoint = "BIO_meth_set_read")]
    public static partial int SetBioRead(nint method, delegate* unmanaged<nint, byte*, int, int> read);

    [LibraryImport(Crypto, EntryPoint = "BIO_meth_set_write")]
    public static partial int SetBioWrite(nint method, delegate* unmanaged<nint, byte*, int, int> write);

    [LibraryImport(Crypto, EntryPoint = "BIO_meth_set_ctrl")]
    public static partial int SetBioControl(nint method, delegate* unmanaged<nint, int, nint, void*, nint> control);

    [LibraryImport(Crypto, EntryPoint = "BIO_new")]
    public static partial nint NewBio(nint method);

    [LibraryImport(Crypto, EntryPoint = "BIO_set_flags")]
    public static partial void SetBioFlags(nint bio, int flags);

    [LibraryImport(Crypto, EntryPoint = "BIO_set_data")]
    public static partial void SetBioData(nint bio, void* data);

    [LibraryImport(Crypto, EntryPoint = "BIO_get_data")]
    [SuppressGCTransition]
    public static partial void* BioData(nint bio);

    [LibraryImport(Crypto, EntryPoint = "X509_STORE_CTX_get0_cert")]
    public static partial nint PresentedCertificate(nint storeContext);

    /// <param name="der">Null: nothing is written; otherwise it points to where, and is moved behind.</param>
    /// <returns>Bytes.</returns>
    [LibraryImport(Crypto, EntryPoint = "i2d_X509")]
    public static partial int Encode(nint certificate, byte** der);

    [LibraryImport(Crypto, EntryPoint = "ERR_get_error")]
    private static partial ulong GetError();

    [LibraryImport(Crypto, EntryPoint = "ERR_error_string_n")]
    private static partial void ErrorText(ulong code, byte* buffer, nuint bytes);
}
