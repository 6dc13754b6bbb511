using System.Runtime.InteropServices;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Replication;

/// <summary>TLS 1.3 between a link and its socket, by OpenSSL on the descriptor: it encrypts from where the frames lie and decrypts beside where
/// they are parsed, which SslStream's streams and buffers cannot (docs/performance.md).</summary>
internal sealed unsafe class TlsLayer : ILinkLayer
{
    private const int RecordBytesMax = 16 << 10;

    /// <summary>Whose handshake this thread is in: the library calls <see cref="Judge"/> from inside it.</summary>
    [ThreadStatic]
    private static TlsLayer? _shaking;

    private readonly Func<X509Certificate2, bool> _isTrusted;
    private readonly long _recordsPerKey;
    private readonly int _descriptor;
    private nint _ssl;
    private Exception? _unjudged;
    private IOException? _failure;
    private long _records;
    private bool _owesWrite;

    /// <param name="descriptor">Of a connected socket, which does not block from now on.</param>
    /// <param name="isTrusted">Judges the peer's certificate; the peer hears of a refusal.</param>
    public TlsLayer(TlsCredentials credentials, int descriptor, bool accepts, Func<X509Certificate2, bool> isTrusted)
    {
        (_isTrusted, _recordsPerKey, _descriptor) = (isTrusted, credentials.RecordsPerKey, descriptor);
        var flags = LoopNative.FileControl(descriptor, LoopNative.GetFlags, 0);
        if (flags < 0 || LoopNative.FileControl(descriptor, LoopNative.SetFlags, flags | LoopNative.NonBlocking) < 0)
            throw new IOException($"fcntl: {Errno.Describe(Marshal.GetLastPInvokeError())}");
        var held = false;
        credentials.DangerousAddRef(ref held);
        try
        {
            // It keeps the context for itself.
            _ssl = OpenSsl.New(credentials.DangerousGetHandle());
        }
        finally
        {
            credentials.DangerousRelease();
        }
        if (_ssl == 0 || OpenSsl.SetDescriptor(_ssl, descriptor) != 1)
        {
            Dispose();
            throw new IOException($"TLS: {OpenSsl.TakeErrors()}");
        }

        if (accepts)
            OpenSsl.SetAccepts(_ssl);
        else
            OpenSsl.SetConnects(_ssl);
    }

    /// <summary>How often this end began to send with a new key.</summary>
    public long KeysRenewed { get; private set; }

    /// <summary>Goes on with the handshake.</summary>
    /// <returns>0: done; otherwise the readiness of the socket to wait for (poll.h).</returns>
    /// <exception cref="AuthenticationException">Not TLS 1.3, or a certificate that was refused, by one of the ends.</exception>
    /// <exception cref="IOException">The connection has failed.</exception>
    public short Handshake()
    {
        ObjectDisposedException.ThrowIf(_ssl == 0, this);
        // A certificate was judged on this thread by the runtime's own OpenSSL, perhaps.
        OpenSsl.TakeErrors();
        _shaking = this;
        int result, errno;
        try
        {
            result = OpenSsl.Handshake(_ssl);
            errno = Marshal.GetLastPInvokeError();
        }
        finally
        {
            _shaking = null;
        }
        if (result == 1)
            return 0;
        switch (OpenSsl.ErrorOf(_ssl, result))
        {
            case OpenSsl.ErrorWantRead:
                return LoopNative.PollIn;
            case OpenSsl.ErrorWantWrite:
                return LoopNative.PollOut;
            case var _ when _unjudged is not null:
                throw new AuthenticationException($"TLS handshake: {OpenSsl.TakeErrors()}", _unjudged);
            case OpenSsl.ErrorZeroReturn:
                throw new IOException("the peer has closed the connection during the TLS handshake");
            case OpenSsl.ErrorSystemCall:
                OpenSsl.TakeErrors();
                throw new IOException(errno == 0
                    ? "the peer has closed the connection during the TLS handshake"
                    : $"TLS handshake: {Errno.Describe(errno)}");
            default:
                throw new AuthenticationException($"TLS handshake: {OpenSsl.TakeErrors()}");
        }
    }

    public nint Send(LoopNative.IoVector* vectors, int count)
    {
        ObjectDisposedException.ThrowIf(_ssl == 0, this);
        long bytes = 0;
        for (var i = 0; i < count; i++)
            bytes += (long)vectors[i].Length;
        // The library sends each record by a call of its own; corked, they leave in packets as large as without TLS.
        var corks = bytes > RecordBytesMax;
        if (corks)
            Cork(1);
        var sent = SendRecords(vectors, count);
        if (corks)
            Cork(0);
        return sent;
    }

    public bool HoldsFailure => _failure is not null;

    public int Receive(byte* buffer, int bytes)
    {
        ObjectDisposedException.ThrowIf(_ssl == 0, this);
        if (_failure is not null)
            throw _failure;
        var total = 0;
        while (total < bytes)
        {
            var got = OpenSsl.Read(_ssl, buffer + total, bytes - total);
            if (got > 0)
            {
                total += got;
                // A short record ends what the peer had to say, mostly: the next readiness tells of more.
                if (got < RecordBytesMax && OpenSsl.HasPending(_ssl) == 0)
                    break;
                continue;
            }
            if (total == 0)
                return Check(got, OpenSsl.ErrorWantRead) ? -1 : 0;
            // What came before an end is taken first. A closed socket stays readable; a record that is not sound has been taken from it.
            try
            {
                Check(got, OpenSsl.ErrorWantRead);
            }
            catch (IOException failure)
            {
                _failure = failure;
            }
            break;
        }
        return total;
    }

    public void Dispose()
    {
        OpenSsl.Free(Interlocked.Exchange(ref _ssl, 0));
    }

    /// <summary>Called by OpenSSL in place of its own check of the peer's chain.</summary>
    [UnmanagedCallersOnly]
    internal static int Judge(nint storeContext, void* argument)
    {
        try
        {
            var presented = OpenSsl.PresentedCertificate(storeContext);
            var der = new byte[OpenSsl.Encode(presented, null)];
            fixed (byte* start = der)
            {
                var end = start;
                OpenSsl.Encode(presented, &end);
            }
            using var certificate = X509CertificateLoader.LoadCertificate(der);
            return _shaking!._isTrusted(certificate) ? 1 : 0;
        }
        catch (Exception e)
        {
            // Nothing may pass through the library's frames: the handshake throws it.
            _shaking!._unjudged = e;
            return 0;
        }
        finally
        {
            // The runtime judges by OpenSSL too, and what it leaves would be taken for the handshake's.
            OpenSsl.TakeErrors();
        }
    }

    private nint SendRecords(LoopNative.IoVector* vectors, int count)
    {
        nint total = 0;
        for (var i = 0; i < count; i++)
        {
            var next = (byte*)vectors[i].Base;
            var left = (long)vectors[i].Length;
            while (left > 0)
            {
                RenewKey();
                var taken = OpenSsl.Write(_ssl, next, (int)Math.Min(left, int.MaxValue));
                if (taken <= 0)
                {
                    _owesWrite = true;
                    if (!Check(taken, OpenSsl.ErrorWantWrite))
                        throw new IOException("the peer has closed the connection");
                    return total > 0 ? total : -1;
                }
                _owesWrite = false;
                _records += (taken + RecordBytesMax - 1) / RecordBytesMax;
                next += taken;
                left -= taken;
                total += taken;
            }
        }
        return total;
    }

    private void Cork(int on) => _ = LoopNative.SetSocketOption(_descriptor, LoopNative.ProtocolTcp, LoopNative.TcpCork, &on, sizeof(int));

    /// <summary>This direction's key only: the other end renews its own. A record that the socket has not taken goes first, and a full socket
    /// gets no renewal: until that has left, the library would receive nothing either, and both ends could wait for each other.</summary>
    private void RenewKey()
    {
        if (_records < _recordsPerKey || _owesWrite)
            return;
        var socket = new LoopNative.PollDescriptor { Descriptor = _descriptor, Events = LoopNative.PollOut };
        if (LoopNative.Poll(&socket, 1, 0) <= 0)
            return;
        if (OpenSsl.UpdateKey(_ssl, OpenSsl.KeyUpdateNotRequested) != 1)
            throw new IOException($"TLS: no new key: {OpenSsl.TakeErrors()}");
        _records = 0;
        KeysRenewed++;
    }

    /// <summary>After a call that took or gave nothing.</summary>
    /// <returns>True: it has to be repeated when the socket is ready; false: the peer has closed.</returns>
    /// <exception cref="IOException">The connection has failed.</exception>
    private bool Check(int result, int wanted)
    {
        var errno = Marshal.GetLastPInvokeError();
        switch (OpenSsl.ErrorOf(_ssl, result))
        {
            case var error when error == wanted || error == OpenSsl.ErrorWantWrite:
                return true; // A renewal of the key that is on its way may make a read wait for the socket's room.
            case OpenSsl.ErrorZeroReturn:
                return false;
            case OpenSsl.ErrorSystemCall:
                OpenSsl.TakeErrors();
                throw new IOException(errno == 0 ? "TLS: the connection is broken" : $"TLS: {Errno.Describe(errno)}");
            default:
                throw new IOException($"TLS: {OpenSsl.TakeErrors()}");
        }
    }
}
