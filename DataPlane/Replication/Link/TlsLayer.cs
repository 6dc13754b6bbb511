using System.Runtime.InteropServices;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Replication;

/// <summary>TLS 1.3 between a link and its socket, by OpenSSL: it encrypts from where the frames lie and decrypts to where they are parsed, which
/// SslStream's streams and buffers cannot (docs/performance.md). The library makes no system call: <see cref="TlsRecords"/>.</summary>
internal sealed unsafe class TlsLayer : ILinkLayer
{
    /// <summary>Whose handshake this thread is in: the library calls <see cref="Judge"/> from inside it.</summary>
    [ThreadStatic]
    private static TlsLayer? _shaking;

    private readonly Func<X509Certificate2, bool> _isTrusted;
    private readonly long _recordsPerKey;
    private readonly SocketLayer _socket;
    private TlsRecords* _wire;
    private nint _ssl;
    private Exception? _unjudged;
    private IOException? _failure;
    private long _records;

    /// <summary>Bytes that were encrypted when the socket became full. They are offered again, and taken when it has them.</summary>
    private nint _encryptedBytes;

    /// <param name="socket">Of a connected socket; the caller keeps it.</param>
    /// <param name="isTrusted">Judges the peer's certificate; the peer hears of a refusal.</param>
    public TlsLayer(TlsCredentials credentials, SocketLayer socket, bool accepts, Func<X509Certificate2, bool> isTrusted)
    {
        (_isTrusted, _recordsPerKey, _socket) = (isTrusted, credentials.RecordsPerKey, socket);
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
        _wire = TlsRecords.New();
        var bio = TlsRecords.NewBio(_wire);
        if (_ssl == 0 || bio == 0)
        {
            Dispose();
            throw new IOException($"TLS: {OpenSsl.TakeErrors()}");
        }

        OpenSsl.SetBio(_ssl, bio, bio);
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
        while (true)
        {
            var (result, error) = Shake();
            if (result == 1)
                return TlsRecords.Send(_wire, _socket) ? (short)0 : LoopNative.PollOut;
            if (error != OpenSsl.ErrorWantRead)
                throw Refused(error);
            var isSent = TlsRecords.Send(_wire, _socket);
            switch (_wire->HoldsReceived ? 1 : TlsRecords.Receive(_wire, _socket, out _))
            {
                case 0:
                    throw new IOException("the peer has closed the connection during the TLS handshake");
                case < 0:
                    return isSent ? LoopNative.PollIn : (short)(LoopNative.PollIn | LoopNative.PollOut);
            }
        }
    }

    public nint Send(LoopNative.IoVector* vectors, int count)
    {
        ObjectDisposedException.ThrowIf(_ssl == 0, this);
        if (!TlsRecords.Send(_wire, _socket))
            return -1;
        var skips = _encryptedBytes;
        var sent = skips;
        _encryptedBytes = 0;
        for (var i = 0; i < count; i++)
        {
            var next = (byte*)vectors[i].Base;
            var left = (nint)vectors[i].Length;
            var skipped = Math.Min(skips, left);
            next += skipped;
            left -= skipped;
            skips -= skipped;
            while (left > 0)
            {
                if (!_wire->HasRoomForRecord && !Flush(ref sent))
                    return sent > 0 ? sent : -1;
                var taken = Encrypt(next, (int)Math.Min(left, TlsRecords.RecordBytesMax));
                next += taken;
                left -= taken;
                _encryptedBytes += taken;
            }
        }
        _ = Flush(ref sent);
        return sent > 0 ? sent : -1;
    }

    public bool HoldsFailure => _failure is not null;

    public int Receive(byte* buffer, int bytes)
    {
        ObjectDisposedException.ThrowIf(_ssl == 0, this);
        if (_failure is not null)
            throw _failure;
        var total = 0;
        var isAll = false;
        while (total < bytes)
        {
            if (!_wire->HoldsReceived && OpenSsl.Pending(_ssl) == 0)
            {
                // The socket's readiness tells of what comes later, and again of an end.
                if (total > 0 && isAll)
                    break;
                int received;
                try
                {
                    received = TlsRecords.Receive(_wire, _socket, out isAll);
                }
                catch (IOException failure)
                {
                    return FailedBehind(total, failure);
                }
                if (received <= 0)
                    return total > 0 ? total : received;
            }
            var got = OpenSsl.Read(_ssl, buffer + total, bytes - total);
            if (got > 0)
            {
                total += got;
                continue;
            }
            switch (OpenSsl.ErrorOf(_ssl, got))
            {
                case OpenSsl.ErrorWantRead:
                    continue; // A part of a record, or one without data.
                case OpenSsl.ErrorZeroReturn:
                    return total;
                default:
                    return FailedBehind(total, Failed());
            }
        }
        return total;
    }

    public void Dispose()
    {
        // Its BIO goes first.
        OpenSsl.Free(Interlocked.Exchange(ref _ssl, 0));
        TlsRecords.Free(_wire);
        _wire = null;
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

    /// <summary>What came before a failure is taken first.</summary>
    private int FailedBehind(int total, IOException failure)
    {
        _failure = failure;
        return total > 0 ? total : throw failure;
    }

    private (int Result, int Error) Shake()
    {
        // A certificate was judged on this thread by the runtime's own OpenSSL, perhaps.
        OpenSsl.TakeErrors();
        _shaking = this;
        try
        {
            var result = OpenSsl.Handshake(_ssl);
            return (result, result == 1 ? 0 : OpenSsl.ErrorOf(_ssl, result));
        }
        finally
        {
            _shaking = null;
        }
    }

    private Exception Refused(int error)
    {
        var reason = $"TLS handshake: {OpenSsl.TakeErrors()}";
        TellReason();
        return error == OpenSsl.ErrorZeroReturn
            ? new IOException("the peer has closed the connection during the TLS handshake")
            : new AuthenticationException(reason, _unjudged);
    }

    private IOException Failed()
    {
        var reason = $"TLS: {OpenSsl.TakeErrors()}";
        TellReason();
        return new IOException(reason);
    }

    /// <summary>The library has an alert for the peer.</summary>
    private void TellReason()
    {
        try
        {
            _ = TlsRecords.Send(_wire, _socket);
        }
        catch (IOException)
        {
            // The peer is gone: what was found wrong before counts.
        }
    }

    /// <param name="sent">Grows by what was encrypted, if the socket has taken it.</param>
    /// <returns>False: the socket is full.</returns>
    private bool Flush(ref nint sent)
    {
        if (!TlsRecords.Send(_wire, _socket))
            return false;
        sent += _encryptedBytes;
        _encryptedBytes = 0;
        return true;
    }

    /// <summary>One record, for which there is room.</summary>
    private int Encrypt(byte* data, int bytes)
    {
        // This direction's key only: the other end renews its own.
        if (_records >= _recordsPerKey)
        {
            if (OpenSsl.UpdateKey(_ssl, OpenSsl.KeyUpdateNotRequested) != 1)
                throw Failed();
            _records = 0;
            KeysRenewed++;
        }
        var taken = OpenSsl.Write(_ssl, data, bytes);
        if (taken <= 0)
            throw Failed();
        _records++;
        return taken;
    }
}
