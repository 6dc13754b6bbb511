using System.Text;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>The two files of a module's durable marks on this host's disk. Calls block; one at a time but for sector writes.</summary>
internal sealed unsafe class MarkFiles : IDisposable
{
    private readonly string _checkpoint;
    private readonly string _log;
    private readonly Lock _lock = new();
    private SafeFileHandle? _open;

    private MarkFiles(string directory)
    {
        Directory.CreateDirectory(directory);
        _checkpoint = Path.Combine(directory, ModuleStateDirectory.CheckpointFile);
        _log = Path.Combine(directory, ModuleStateDirectory.ActivityLogFile);
    }

    /// <summary>Reads what is there and makes durable what must be before anything else.</summary>
    /// <exception cref="StorageException">A newer version wrote the files, or the disk fails.</exception>
    public static (MarkFiles Files, RecoveredMarks Marks) Open(string directory, int slots, ResyncPart part)
    {
        var files = new MarkFiles(directory);
        var marks = RecoveredMarks.Read(ReadAll(files._checkpoint), ReadAll(files._log), slots, part, out var refusal)
            ?? throw new StorageException(StorageFault.NewerVersion, refusal!);
        if (marks.CheckpointToStore is { } checkpoint)
            DurableFile.Replace(files._checkpoint, checkpoint);
        if (marks.LogToStore is { } log)
            DurableFile.Replace(files._log, log);
        return (files, marks);
    }

    /// <returns>0 or an errno.</returns>
    public int StoreSector(long offsetBytes, ReadOnlySpan<byte> sector)
    {
        try
        {
            return Write(OpenLog(), offsetBytes, sector);
        }
        catch (StorageException e)
        {
            return ErrnoOf(e);
        }
    }

    public int StoreCheckpoint(ReadOnlyMemory<byte> image) => Replace(_checkpoint, image);

    public int ReplaceLog(ReadOnlyMemory<byte> image)
    {
        Close();
        return Replace(_log, image);
    }

    public void Dispose() => Close();

    private static int Replace(string path, ReadOnlyMemory<byte> image)
    {
        try
        {
            DurableFile.Replace(path, image.Span);
            return Errno.None;
        }
        catch (StorageException e)
        {
            return ErrnoOf(e);
        }
    }

    private static int ErrnoOf(StorageException e) => e.Errno != 0 ? e.Errno : Errno.EIO;

    private static ReadOnlyMemory<byte>? ReadAll(string path)
    {
        try
        {
            return File.ReadAllBytes(path);
        }
        catch (FileNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StorageException(StorageFault.Io, $"Reading {path} failed: {e.Message}");
        }
    }

    private SafeFileHandle OpenLog()
    {
        lock (_lock)
            return _open ??= OpenForSectors(_log);
    }

    private void Close()
    {
        lock (_lock)
        {
            _open?.Dispose();
            _open = null;
        }
    }

    private static int Write(SafeFileHandle log, long offsetBytes, ReadOnlySpan<byte> sector)
    {
        var done = 0;
        // SAFETY: the span is pinned; every call writes from what is left of it.
        fixed (byte* start = sector)
        {
            while (done < sector.Length)
            {
                var put = Libc.PWrite((int)log.DangerousGetHandle(), start + done, (nuint)(sector.Length - done), offsetBytes + done);
                if (put > 0)
                    done += (int)put;
                else if (put == 0 || Libc.LastErrno != Errno.EINTR)
                    return put == 0 ? Errno.EIO : Libc.LastErrno;
            }
        }
        return Errno.None;
    }

    /// <summary>Every write through it is stable when it returns (O_DSYNC).</summary>
    private static SafeFileHandle OpenForSectors(string path)
    {
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
        {
            var fd = Libc.OpenAt(Libc.AtCurrentDirectory, name, OpenFlags.ReadWrite | OpenFlags.DataSync | OpenFlags.CloseOnExec);
            return fd >= 0 ? new SafeFileHandle(fd, ownsHandle: true) : throw StorageException.FromLastErrno($"open {path}");
        }
    }
}
