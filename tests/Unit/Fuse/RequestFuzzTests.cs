using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Volumes;
using Pollux.Tests.Unit.Replication;
using Xunit.Abstractions;

namespace Pollux.Tests.Unit.Fuse;

/// <summary>Requests that no kernel sends: truncated, too long, with lengths that do not fit, without names, with any value in any field. Each
/// ends in one reply of the right form or in a fault of the session; nothing is read beyond the message, which lies before an
/// unreadable page; nothing hangs or ends the process.</summary>
/// <remarks>The seed is printed; POLLUX_FUZZ_SEED replays one, POLLUX_FUZZ_REQUESTS makes the run longer.</remarks>
public sealed unsafe partial class RequestFuzzTests(ITestOutputHelper output)
{
    private const int Page = 4096;
    private const int MessageBytesMax = 64 << 10;
    private const int PayloadBytes = 64 << 10;

    [FuseFact]
    public void Requests_of_any_content_end_in_a_reply_or_a_fault()
    {
        var seed = ulong.TryParse(Environment.GetEnvironmentVariable("POLLUX_FUZZ_SEED"), out var given) ? given : 20261;
        var requests = int.TryParse(Environment.GetEnvironmentVariable("POLLUX_FUZZ_REQUESTS"), out var count) ? count : 200_000;
        output.WriteLine($"seed {seed}, {requests} requests");
        var random = new SeededRandom(seed);
        using var arena = new Arena();
        using var replies = new ReplyFile();
        FuseException? refused = null;
        var replier = new FuseReplier([replies.Handle], cause => refused = cause);
        int answered = 0, faults = 0;
        for (var i = 0; i < requests;)
        {
            var completions = new FuseCompletions();
            var volume = new FuseVolume(new ScriptedVolume(random, completions), completions);
            var flags = random.Below(2) == 0 ? FuseInitFlags.None : FuseInitFlags.PosixAcl | FuseInitFlags.DirectIoAllowMmap;
            volume.Started(new FuseNegotiation(45, 45, flags, PayloadBytes), replier);
            for (var end = Math.Min(requests, i + 1000); i < end; i++)
            {
                var length = Fill(random, arena.Scratch, (ulong)i + 1);
                var request = arena.Place(length);
                try
                {
                    volume.Handle(in request, replier);
                    CheckReply(replies.Take(), request.Opcode, (ulong)i + 1);
                    answered++;
                }
                catch (FuseException)
                {
                    Assert.True(replies.Take().Length == 0, "a request was answered and failed the session as well");
                    faults++;
                }
            }
            volume.Ended();
            _ = replies.Take();
        }

        Assert.Null(refused);
        // Both outcomes are usual, or the requests were too tame or too wild to find anything.
        Assert.InRange(answered, requests / 4, requests - requests / 100);
        Assert.Equal(requests, answered + faults);
    }

    private static void CheckReply(ReadOnlySpan<byte> reply, FuseOpcode opcode, ulong unique)
    {
        // A message to drop cached attributes may come before the reply.
        while (reply.Length >= sizeof(FuseOutHeader) && MemoryMarshal.Read<FuseOutHeader>(reply) is { Unique: 0 } notice)
            reply = reply[(int)notice.Length..];
        Assert.True(reply.Length >= sizeof(FuseOutHeader), $"{opcode} was not answered");
        var header = MemoryMarshal.Read<FuseOutHeader>(reply);
        Assert.Equal((ulong)reply.Length, header.Length);
        Assert.Equal(unique, header.Unique);
        Assert.InRange(header.Error, -511, 0);
        if (header.Error != 0)
            Assert.Equal(sizeof(FuseOutHeader), reply.Length);
    }

    /// <summary>A message: usually a valid opcode with plausible arguments and names, then spoilt.</summary>
    private static int Fill(SeededRandom random, Span<byte> message, ulong unique)
    {
        var body = sizeof(FuseInHeader);
        var opcode = random.Below(20) == 0 ? (uint)random.Below(100) : (uint)random.Below(54);
        var arguments = new[] { 0, 0, 4, 8, 16, 24, 32, 40, 88 }[random.Below(9)];
        // Structures are small numbers more often than noise.
        var noise = random.Below(3) == 0;
        for (var i = 0; i < arguments; i++)
            message[body + i] = noise || (i % 8 == 0 && random.Below(2) == 0) ? (byte)random.Below(256) : (byte)0;
        var length = body + arguments;
        for (var names = random.Below(3); names > 0; names--)
        {
            var bytes = random.Below(8) == 0 ? 200 + random.Below(5000) : random.Below(40);
            for (var i = 0; i < bytes; i++)
                message[length++] = (byte)(random.Below(30) == 0 ? random.Below(256) : 'a' + random.Below(26));
            if (random.Below(12) != 0)
                message[length++] = 0;
        }
        if (random.Below(10) == 0)
            "system.posix_acl_access\0"u8.CopyTo(message[length..(length += 24)]);
        var data = random.Below(4) == 0 ? random.Below(20_000) : 0;
        length += data;
        // The size field of WRITE, SETXATTR and READ fits now and then.
        if (opcode == (uint)FuseOpcode.Write && arguments >= 24 && random.Below(2) == 0)
            BinaryPrimitives.WriteInt32LittleEndian(message[(body + 16)..], length - body - sizeof(FuseWriteIn));
        if (random.Below(10) == 0)
            length = body + random.Below(length - body + 1);
        MemoryMarshal.Write(message, new FuseInHeader { Length = (uint)length, Opcode = (FuseOpcode)opcode, Unique = unique, NodeId = random.Below(4) == 0 ? random.Next() : (ulong)random.Below(20) });
        return length;
    }

    /// <summary>Memory whose end is followed by a page that cannot be read.</summary>
    private sealed class Arena : IDisposable
    {
        private readonly byte* _memory;
        private readonly byte* _payload;
        private readonly byte[] _scratch = new byte[MessageBytesMax];

        public Arena()
        {
            const int none = 0, readWrite = 3, privateAnonymous = 0x22;
            _memory = MapMemory(null, MessageBytesMax + Page, readWrite, privateAnonymous, -1, 0);
            Assert.Equal(0, ProtectMemory(_memory + MessageBytesMax, Page, none));
            // The reply's header goes before the payload.
            _payload = (byte*)NativeMemory.AlignedAlloc(Page + PayloadBytes, Page) + Page;
        }

        public Span<byte> Scratch => _scratch;

        /// <summary>The message in the scratch space as a request that ends where memory ends.</summary>
        public FuseRequest Place(int length)
        {
            var message = _memory + MessageBytesMax - length;
            _scratch.AsSpan(0, length).CopyTo(new Span<byte>(message, length));
            return new FuseRequest(message, _payload, PayloadBytes, 0);
        }

        public void Dispose()
        {
            _ = UnmapMemory(_memory, MessageBytesMax + Page);
            NativeMemory.AlignedFree(_payload - Page);
        }
    }

    /// <summary>Stands for /dev/fuse: keeps what is written to it.</summary>
    private sealed class ReplyFile : IDisposable
    {
        private readonly string _path = Path.GetTempFileName();
        private readonly byte[] _buffer = new byte[1 << 20];
        private long _taken;

        public ReplyFile() => Handle = File.OpenHandle(_path, FileMode.Create, FileAccess.ReadWrite);

        public SafeFileHandle Handle { get; }

        /// <summary>What was written since the last time.</summary>
        public ReadOnlySpan<byte> Take()
        {
            var count = RandomAccess.Read(Handle, _buffer, _taken);
            _taken += count;
            return _buffer.AsSpan(0, count);
        }

        public void Dispose()
        {
            Handle.Dispose();
            File.Delete(_path);
        }
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial byte* MapMemory(byte* at, nuint length, int protection, int flags, int file, long offset);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int ProtectMemory(byte* at, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int UnmapMemory(byte* at, nuint length);
}
