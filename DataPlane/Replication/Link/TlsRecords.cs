using System.Runtime.InteropServices;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Replication;

/// <summary>Records between OpenSSL and the socket, several at a time: the library would send and receive each by a call of its own, and short
/// sends make short packets.</summary>
/// <remarks>OpenSSL sees it as a BIO that never waits and makes no system call. Native memory, because the library calls back with its address;
/// pages that small records do not reach are never touched.</remarks>
internal unsafe struct TlsRecords
{
    /// <summary>RFC 8446, 5.1 and 5.2: 2^14 bytes, at most 256 more when encrypted, a head of 5.</summary>
    public const int RecordBytesMax = 16 << 10;
    private const int EncryptedBytesMax = RecordBytesMax + 256 + 5;

    /// <summary>Eight full records; a cache of the second level holds both buffers.</summary>
    private const int ReceivedBytesMax = 128 << 10;

    /// <summary>As many, and room for what the library sends by itself: keys, alerts, a handshake's certificates.</summary>
    private const int ToSendBytesMax = 160 << 10;

    private static readonly nint Method = NewMethod();

    private int _receivedStart;
    private int _receivedEnd;
    private int _sendStart;
    private int _sendEnd;

    public readonly bool HoldsReceived => _receivedStart < _receivedEnd;

    public readonly bool HoldsToSend => _sendStart < _sendEnd;

    /// <summary>For one more full record, and a new key before it.</summary>
    public readonly bool HasRoomForRecord => ToSendBytesMax - _sendEnd >= 2 * EncryptedBytesMax;

    /// <returns>To be given to <see cref="Free"/> after the last use of the BIO.</returns>
    public static TlsRecords* New()
    {
        var records = (TlsRecords*)NativeMemory.Alloc((nuint)(sizeof(TlsRecords) + ReceivedBytesMax + ToSendBytesMax));
        *records = default;
        return records;
    }

    public static void Free(TlsRecords* records) => NativeMemory.Free(records);

    /// <returns>0: OpenSSL has none.</returns>
    public static nint NewBio(TlsRecords* records)
    {
        var bio = Method == 0 ? 0 : OpenSsl.NewBio(Method);
        if (bio == 0)
            return 0;
        OpenSsl.SetBioData(bio, records);
        // A call that gives or takes nothing is always to be repeated.
        OpenSsl.SetBioFlags(bio, OpenSsl.BioRetries);
        return bio;
    }

    /// <summary>Receives as much as there is room for. Only when nothing is held.</summary>
    /// <param name="isAll">The socket had no more.</param>
    /// <returns>As <see cref="ILinkLayer.Receive"/>.</returns>
    /// <exception cref="IOException">The connection has failed.</exception>
    public static int Receive(TlsRecords* records, SocketLayer socket, out bool isAll)
    {
        var got = socket.Receive(Received(records), ReceivedBytesMax);
        isAll = got < ReceivedBytesMax;
        (records->_receivedStart, records->_receivedEnd) = (0, Math.Max(got, 0));
        return got;
    }

    /// <summary>Sends what is held.</summary>
    /// <returns>False: the socket is full.</returns>
    /// <exception cref="IOException">The connection has failed.</exception>
    public static bool Send(TlsRecords* records, SocketLayer socket)
    {
        while (records->HoldsToSend)
        {
            LoopNative.IoVector vector;
            vector.Base = ToSend(records) + records->_sendStart;
            vector.Length = (nuint)(records->_sendEnd - records->_sendStart);
            var sent = socket.Send(&vector, 1);
            if (sent < 0)
                return false;
            records->_sendStart += (int)sent;
        }
        records->_sendStart = records->_sendEnd = 0;
        return true;
    }

    // SAFETY: both buffers lie behind the struct, in the order of their names, in one allocation (New); every index stays within its buffer.
    private static byte* Received(TlsRecords* records) => (byte*)(records + 1);

    private static byte* ToSend(TlsRecords* records) => Received(records) + ReceivedBytesMax;

    private static nint NewMethod()
    {
        var method = OpenSsl.NewBioMethod(OpenSsl.NewBioIndex() | OpenSsl.BioSourceSink, "records");
        if (method != 0)
        {
            OpenSsl.SetBioRead(method, &Read);
            OpenSsl.SetBioWrite(method, &Write);
            OpenSsl.SetBioControl(method, &Control);
        }
        return method;
    }

    [UnmanagedCallersOnly]
    private static int Read(nint bio, byte* buffer, int bytes)
    {
        var records = (TlsRecords*)OpenSsl.BioData(bio);
        var taken = Math.Min(bytes, records->_receivedEnd - records->_receivedStart);
        if (taken <= 0)
            return -1;
        NativeMemory.Copy(Received(records) + records->_receivedStart, buffer, (nuint)taken);
        records->_receivedStart += taken;
        return taken;
    }

    [UnmanagedCallersOnly]
    private static int Write(nint bio, byte* buffer, int bytes)
    {
        var records = (TlsRecords*)OpenSsl.BioData(bio);
        var taken = Math.Min(bytes, ToSendBytesMax - records->_sendEnd);
        if (taken <= 0)
            return -1;
        NativeMemory.Copy(buffer, ToSend(records) + records->_sendEnd, (nuint)taken);
        records->_sendEnd += taken;
        return taken;
    }

    [UnmanagedCallersOnly]
    private static nint Control(nint bio, int command, nint argument, void* pointer) => command == OpenSsl.BioFlush ? 1 : 0;
}
