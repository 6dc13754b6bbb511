using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;
using Pollux.Tests.Unit.Fuse;
using Pollux.Tests.Unit.Replication;

namespace Pollux.Tests.Unit.Volumes;

/// <summary>The module directory of host A mounted by the real kernel over the production engine, mirrored to host B.</summary>
internal sealed class MirroredMount : IAsyncDisposable
{
    private static readonly TimeSpan CommandMax = TimeSpan.FromSeconds(90);
    private readonly ReplicationPair _pair;
    private CoveredDirectory? _covered;
    private FuseSession? _session;

    private MirroredMount(string? directory) => _pair = new ReplicationPair(aDirectory: directory);

    public string Root => _pair.A.ModuleDirectory;

    public ReplicationPair Pair => _pair;

    public string this[string name] => Path.Combine(Root, name);

    /// <param name="prepare">Called with A's directory before anything is mounted or served.</param>
    /// <param name="mirrored">False: A serves alone until <see cref="ReplicationPair.Join"/>.</param>
    /// <param name="directory">A's directory; one of its own by default.</param>
    public static async Task<MirroredMount> CreateAsync(Action<string>? prepare = null, bool mirrored = true, string? directory = null)
    {
        var mount = new MirroredMount(directory);
        prepare?.Invoke(mount.Root);
        var (completions, a) = (new FuseCompletions(), mount._pair.A);
        a.Record(1, "a", "a");
        a.State = a.State with { DataState = Pollux.DataPlane.Core.Roles.DataState.UpToDate };
        await a.Engine.ServeAsync(1, peerIsMember: false, completions, CancellationToken.None);
        // The engine has opened its copy by now.
        mount._covered = CoveredDirectory.Open(mount.Root, FuseSandbox.Timeout);
        mount._session = FuseSession.Start(mount._covered, new FuseVolume(a.Volume, completions), FuseVolume.SessionOptions("vm1"));
        if (mirrored)
            await mount._pair.Join();
        return mount;
    }

    /// <summary>Runs a shell command in the mounted directory; its output.</summary>
    public string Shell(string command)
    {
        using var process = Process.Start(new ProcessStartInfo("/bin/bash", ["-c", "set -e -o pipefail; " + command])
        {
            WorkingDirectory = Root,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        Assert.True(process.WaitForExit(CommandMax), $"'{command}' did not end");
        Assert.True(process.ExitCode == 0, $"'{command}' exited {process.ExitCode}: {errors.Result}");
        return output.TrimEnd('\n');
    }

    /// <summary>Opens a file of the mount by its name in bytes; the descriptor is the caller's.</summary>
    public unsafe SafeFileHandle Open(string name, int flags, uint mode = 0x1A4)
    {
        fixed (byte* path = Encoding.UTF8.GetBytes(this[name] + "\0"))
        {
            var fd = Libc.OpenAt(Libc.AtCurrentDirectory, path, flags | OpenFlags.CloseOnExec, mode);
            Assert.True(fd >= 0, $"open {name}: {Errno.Describe(Libc.LastErrno)}");
            return new SafeFileHandle(fd, ownsHandle: true);
        }
    }

    /// <summary>Entries of the internal directory of objects without a name, on A.</summary>
    public IReadOnlyList<string> Unlinked() =>
        [.. Directory.EnumerateFiles($"/proc/self/fd/{_covered!.Handle.DangerousGetHandle()}/.pollux/unlinked").Select(path => Path.GetFileName(path))];

    /// <summary>Unmounts, which settles what is left to settle, shuts both engines and compares the copies: identity, names, types, modes,
    /// owners, sizes, times of modification, links, extended attributes with ACLs, content.</summary>
    public async Task AssertEqualAtTheEndAsync()
    {
        Assert.Equal(UnmountOutcome.Clean, Unmount());
        Assert.True(_pair.A.Engine.Status.SessionUp, $"the pair is not mirrored: {_pair.A.Engine.Status}");
        await _pair.A.Engine.DisposeAsync();
        await _pair.B.Engine.DisposeAsync();
        var (a, b) = (Describe(_pair.A.ModuleDirectory), Describe(_pair.B.ModuleDirectory));
        Assert.Equal(a.Where(line => !b.Contains(line)).Order().Take(5), b.Where(line => !a.Contains(line)).Order().Take(5));
        Assert.True(a.Count > 1, "there is something to compare");
    }

    public async ValueTask DisposeAsync()
    {
        Unmount();
        _covered?.Dispose();
        // Names that are no text cannot be deleted from .NET.
        foreach (var host in (ReplicationHost[])[_pair.A, _pair.B])
            Process.Start("/bin/rm", ["-rf", host.ModuleDirectory]).WaitForExit();
        await _pair.DisposeAsync();
    }

    private UnmountOutcome Unmount()
    {
        if (Interlocked.Exchange(ref _session, null) is not { } session)
            return UnmountOutcome.Clean;
        try
        {
            var outcome = session.Stop(FuseSandbox.Timeout);
            Assert.Null(session.FaultCause);
            return outcome;
        }
        finally
        {
            _covered!.Uncover();
        }
    }

    private static HashSet<string> Describe(string directory)
    {
        using var store = ObjectStore.Open(directory);
        return [.. Manifest.Snapshot(store).Select(entry => Describe(store, entry))];
    }

    private static string Describe(ObjectStore store, ManifestEntry entry)
    {
        var text = new StringBuilder($"{entry.Object:x}");
        foreach (var link in entry.Links.OrderBy(link => link.Parent).ThenBy(link => Convert.ToHexString(link.Name), StringComparer.Ordinal))
            text.Append($" {link.Parent:x}/{Encoding.Latin1.GetString(link.Name)}");
        text.Append($" mode {Convert.ToString(entry.Mode, 8)} owner {entry.Uid}:{entry.Gid} device {entry.DeviceNumber} size {entry.SizeBytes} modified {entry.ModifyTimeNs}");
        text.Append($" -> {Encoding.Latin1.GetString(entry.SymlinkTarget)}");
        foreach (var xattr in entry.Xattrs.OrderBy(xattr => Convert.ToHexString(xattr.Name), StringComparer.Ordinal))
            text.Append($" {Encoding.Latin1.GetString(xattr.Name)}={Convert.ToHexString(xattr.Value)}");
        if (StMode.IsRegular(entry.Mode))
            text.Append($" content {Hash(store, entry)}");
        return text.ToString();
    }

    /// <summary>Holes are passed over in steps, so that a sparse file costs what it holds; where they lie counts as zeros.</summary>
    private static string Hash(ObjectStore store, ManifestEntry entry)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = new byte[64 << 10];
        for (var offset = 0L; offset < entry.SizeBytes;)
        {
            if (store.Seek(entry.Object, offset, Libc.SeekData, out var data) != 0)
                break;
            offset = data / buffer.Length * buffer.Length;
            Assert.Equal(0, store.Read(entry.Object, offset, buffer, out var count));
            if (buffer.AsSpan(0, count).ContainsAnyExcept((byte)0))
            {
                hash.AppendData(BitConverter.GetBytes(offset));
                hash.AppendData(buffer.AsSpan(0, count));
            }
            offset += buffer.Length;
        }
        return Convert.ToHexString(hash.GetHashAndReset());
    }
}
