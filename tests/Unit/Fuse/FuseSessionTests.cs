using System.Diagnostics;
using System.Threading.Channels;
using Pollux.DataPlane.Fuse;

namespace Pollux.Tests.Unit.Fuse;

/// <summary>The session against the kernel of this machine.</summary>
public sealed class FuseSessionTests
{
    private const int DiskBytes = 8 << 20;

    [FuseFact]
    public void What_is_written_through_the_mount_is_read_back_through_it()
    {
        using var sandbox = new FuseSandbox();
        var disk = new MemoryDisk(DiskBytes);
        using var session = sandbox.Start(disk);
        var data = Pattern(3 * 4096 + 17);

        using (var file = File.OpenHandle(sandbox.File1("disk"), FileMode.Open, FileAccess.ReadWrite))
        {
            RandomAccess.Write(file, data, 12345);
            var back = new byte[data.Length];
            Assert.Equal(data.Length, RandomAccess.Read(file, back, 12345));
            Assert.Equal(data, back);
        }

        Assert.Equal(data, disk.Content.AsSpan(12345, data.Length).ToArray());
        Assert.Equal(UnmountOutcome.Clean, session.Stop(FuseSandbox.Timeout));
        Assert.True(session.Ended.IsCompletedSuccessfully);
        Assert.True(disk.EndedOnce.Task.IsCompleted);
    }

    [FuseFact]
    public void The_kernel_agrees_to_what_the_data_path_needs()
    {
        using var sandbox = new FuseSandbox();
        var disk = new MemoryDisk(DiskBytes);
        using var session = sandbox.Start(disk);

        Assert.Equal(session.Negotiated, disk.Negotiated);
        Assert.Equal(1 << 20, session.Negotiated.WriteBytesMax);
        const FuseInitFlags needed = FuseInitFlags.AsyncDirectIo | FuseInitFlags.MaxPages | FuseInitFlags.BigWrites
            | FuseInitFlags.ParallelDirectoryOperations | FuseInitFlags.AbortError | FuseInitFlags.DoReadDirectoryPlus;
        Assert.Equal(needed, session.Negotiated.Flags & needed);
        const FuseInitFlags unwanted = FuseInitFlags.WritebackCache | FuseInitFlags.PosixLocks | FuseInitFlags.FlockLocks
            | FuseInitFlags.PosixAcl | FuseInitFlags.SetXattrExtended;
        Assert.Equal(FuseInitFlags.None, session.Negotiated.Flags & unwanted);
    }

    /// <summary>An INTERRUPT that waits for a request that is sent again would stay in the kernel's list.</summary>
    [FuseFact]
    public async Task The_kernel_sends_no_interrupts_from_the_first_request_on()
    {
        using var sandbox = new FuseSandbox();
        var disk = new MemoryDisk(DiskBytes);
        var held = new TaskCompletionSource<FuseReplyToken>();
        disk.OnWrite = (token, _) => held.TrySetResult(token);
        using var session = sandbox.Start(disk);
        using var writer = Process.Start("dd", ["if=/dev/zero", $"of={sandbox.File1("disk")}", "bs=4k", "count=1", "oflag=direct", "conv=notrunc", "status=none"])!;
        var write = await held.Task.WaitAsync(FuseSandbox.Timeout);

        // S: a signal would wake it, and an INTERRUPT would follow. D: only a fatal one does, and none follows (request_wait_answer).
        string state;
        do
            state = File.ReadAllText($"/proc/{writer.Id}/stat").Split(") ")[1][..1];
        while (state == "R");
        Assert.Equal("D", state);

        session.Replier.Written(write, 4096);
        Assert.True(writer.WaitForExit(FuseSandbox.Timeout));
        Assert.Equal(0, writer.ExitCode);
    }

    [FuseFact]
    public void A_direct_write_of_1_MiB_is_one_request()
    {
        using var sandbox = new FuseSandbox();
        var disk = new MemoryDisk(DiskBytes);
        using var session = sandbox.Start(disk);

        Run("dd", "if=/dev/urandom", $"of={sandbox.File1("disk")}", "bs=1M", "count=4", "oflag=direct", "conv=notrunc", "status=none");

        Assert.Equal([1u << 20, 1u << 20, 1u << 20, 1u << 20], disk.WriteSizes);
        Assert.Contains(disk.Content.AsSpan(3 << 20, 4096).ToArray(), value => value != 0);
    }

    [FuseFact]
    public async Task Replies_from_another_thread_find_the_descriptor_that_read_the_request()
    {
        using var sandbox = new FuseSandbox();
        var held = Channel.CreateUnbounded<(FuseReplyToken Token, uint Size)>();
        var disk = new MemoryDisk(DiskBytes);
        disk.OnWrite = (token, size) => held.Writer.TryWrite((token, size));
        using var session = sandbox.Start(disk);
        var devices = new HashSet<int>();
        var answering = Task.Run(async () =>
        {
            await foreach (var (token, size) in held.Reader.ReadAllAsync())
            {
                devices.Add(token.Device);
                Assert.True(session.Replier.Written(token, size));
            }
        });

        const int writers = 8;
        var data = Pattern(4096);
        // Threads of their own: blocked in the kernel they would starve the pool that answers them.
        await Task.WhenAll(Enumerable.Range(0, writers).Select(writer => Task.Factory.StartNew(() =>
        {
            using var file = File.OpenHandle(sandbox.File1("disk"), FileMode.Open, FileAccess.Write);
            for (var i = 0; i < 200; i++)
                RandomAccess.Write(file, data, (writer * 200L + i) * 4096 % DiskBytes);
        }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)));
        held.Writer.Complete();
        await answering;

        Assert.Equal(writers * 200, disk.WriteSizes.Count);
        Assert.True(devices.Count > 1, "all requests came over one descriptor");
        Assert.Equal(0, session.Replier.UnwantedReplies);
    }

    [FuseFact]
    public async Task An_exception_in_the_handler_fails_requests_instead_of_hanging_them_and_hides_the_copy()
    {
        using var sandbox = new FuseSandbox();
        var disk = new MemoryDisk(DiskBytes);
        disk.OnWrite = (_, _) => throw new InvalidOperationException("engine fault");
        using var session = sandbox.Start(disk);
        var faulted = new TaskCompletionSource<Exception>();
        session.Faulted += faulted.SetResult;

        using (var file = File.OpenHandle(sandbox.File1("disk"), FileMode.Open, FileAccess.Write))
            Assert.ThrowsAny<IOException>(() => RandomAccess.Write(file, Pattern(4096), 0));

        var cause = await faulted.Task.WaitAsync(FuseSandbox.Timeout);
        Assert.Equal("engine fault", cause.Message);
        Assert.Same(cause, session.FaultCause);
        await session.Ended.WaitAsync(FuseSandbox.Timeout);
        Assert.ThrowsAny<IOException>(() => Directory.GetFileSystemEntries(sandbox.Path));
        Assert.Equal(FuseSandbox.SecretText, sandbox.SecretUnderTheMount);
        session.Stop(FuseSandbox.Timeout);
        Assert.Empty(Directory.GetFileSystemEntries(sandbox.Path));
    }

    [FuseFact]
    public async Task Stopping_ends_requests_that_the_handler_never_answers()
    {
        using var sandbox = new FuseSandbox();
        var taken = new TaskCompletionSource<FuseReplyToken>();
        var disk = new MemoryDisk(DiskBytes);
        disk.OnWrite = (token, _) => taken.TrySetResult(token);
        using var session = sandbox.Start(disk);
        var writing = Task.Run(() =>
        {
            using var file = File.OpenHandle(sandbox.File1("disk"), FileMode.Open, FileAccess.Write);
            RandomAccess.Write(file, Pattern(4096), 0);
        });
        var token = await taken.Task.WaitAsync(FuseSandbox.Timeout);

        Assert.Equal(UnmountOutcome.Aborted, session.Stop(FuseSandbox.Timeout));

        await Assert.ThrowsAnyAsync<IOException>(() => writing.WaitAsync(FuseSandbox.Timeout));
        Assert.False(session.Replier.Written(token, 4096));
        Assert.Null(session.FaultCause);
        Assert.Empty(Directory.GetFileSystemEntries(sandbox.Path));
    }

    [FuseFact]
    public void A_dead_mount_left_behind_is_removed_and_the_directory_served_again()
    {
        using var sandbox = new FuseSandbox();
        var first = sandbox.Start(new MemoryDisk(4096));
        first.Abort();
        Assert.ThrowsAny<IOException>(() => File.ReadAllBytes(sandbox.File1("disk")));

        sandbox.Reopen();

        using var second = sandbox.Start(new MemoryDisk(4096));
        Assert.Equal(4096, File.ReadAllBytes(sandbox.File1("disk")).Length);
        Assert.Equal(FuseSandbox.SecretText, sandbox.SecretUnderTheMount);
    }

    [FuseFact]
    public void A_directory_that_is_being_served_is_not_taken_over()
    {
        using var sandbox = new FuseSandbox();
        using var session = sandbox.Start(new MemoryDisk(4096));

        var refusal = Assert.Throws<FuseException>(() => CoveredDirectory.Open(sandbox.Path, FuseSandbox.Timeout));

        Assert.Contains("served by another running process", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(4096, File.ReadAllBytes(sandbox.File1("disk")).Length);
    }

    [FuseFact]
    public void A_notification_makes_the_kernel_read_changed_content_again()
    {
        using var sandbox = new FuseSandbox();
        var disk = new MemoryDisk(4096) { OpenFlags = FuseOpenFlags.KeepCache, AttributesValidSeconds = 3600 };
        using var session = sandbox.Start(disk);
        Assert.Equal(0, File.ReadAllBytes(sandbox.File1("disk"))[7]);
        disk.Content[7] = 42;
        Assert.Equal(0, File.ReadAllBytes(sandbox.File1("disk"))[7]);

        Assert.True(session.Replier.NotifyInvalidateInode(2, 0, 0));

        Assert.Equal(42, File.ReadAllBytes(sandbox.File1("disk"))[7]);
        Assert.True(session.Replier.NotifyInvalidateEntry(1, "disk"u8));
        Assert.False(session.Replier.NotifyInvalidateInode(77, 0, 0));
        Assert.Null(session.FaultCause);
    }

    [FuseFact]
    public void A_write_allocates_nothing_in_the_session()
    {
        using var sandbox = new FuseSandbox();
        var disk = new MemoryDisk(DiskBytes);
        var allocated = new long[2000];
        var count = 0;
        disk.OnWrite = (_, _) =>
        {
            if (count < allocated.Length)
                allocated[count++] = GC.GetAllocatedBytesForCurrentThread();
            return false;
        };
        using var session = sandbox.Start(disk, new FuseSessionOptions { Workers = 1, Source = "pollux-test" });

        using (var file = File.OpenHandle(sandbox.File1("disk"), FileMode.Open, FileAccess.Write))
        {
            var data = Pattern(4096);
            for (var i = 0; i < allocated.Length; i++)
                RandomAccess.Write(file, data, i % 1000 * 4096L);
        }

        // The bag of sizes in the test's own handler grows in segments: a few allocations in all, none per write.
        Assert.InRange(allocated[^1] - allocated[500], 0, 64 * 1024);
        Assert.True(Enumerable.Range(501, allocated.Length - 501).Count(i => allocated[i] != allocated[i - 1]) < 10);
    }

    internal static void Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
        var errors = process.StandardError.ReadToEnd();
        Assert.True(process.WaitForExit(FuseSandbox.Timeout), $"{program} did not end");
        Assert.True(process.ExitCode == 0, $"{program}: {errors}");
    }

    private static byte[] Pattern(int length)
    {
        var data = new byte[length];
        for (var i = 0; i < length; i++)
            data[i] = (byte)(i * 31 + (i >> 8));
        return data;
    }
}
