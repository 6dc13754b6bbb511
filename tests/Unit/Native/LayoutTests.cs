using System.Runtime.InteropServices;
using Pollux.DataPlane.Native;

namespace Pollux.Tests.Unit.Native;

/// <summary>Layouts as in the kernel's headers for 64-bit Linux: include/uapi/linux/stat.h (statx), include/uapi/asm-generic/statfs.h.</summary>
public sealed class LayoutTests
{
    [Theory]
    [InlineData(nameof(Statx.Mode), 0x1c)]
    [InlineData(nameof(Statx.Inode), 0x20)]
    [InlineData(nameof(Statx.SizeBytes), 0x28)]
    [InlineData(nameof(Statx.AccessTime), 0x40)]
    [InlineData(nameof(Statx.BirthTime), 0x50)]
    [InlineData(nameof(Statx.ChangeTime), 0x60)]
    [InlineData(nameof(Statx.ModifyTime), 0x70)]
    [InlineData(nameof(Statx.DeviceMajor), 0x80)]
    [InlineData(nameof(Statx.FileSystemMinor), 0x8c)]
    public void Fields_of_statx_lie_where_the_kernel_puts_them(string field, int offset) => Assert.Equal(offset, (int)Marshal.OffsetOf<Statx>(field));

    [Fact]
    public void Structures_have_the_kernel_s_sizes()
    {
        Assert.Equal((0x100, 16, 16, 120), (Marshal.SizeOf<Statx>(), Marshal.SizeOf<StatxTime>(), Marshal.SizeOf<Timespec>(), Marshal.SizeOf<StatFs>()));
        Assert.Equal(64, (int)Marshal.OffsetOf<StatFs>(nameof(StatFs.NameLengthMax)));
    }

    [Theory]
    [InlineData(-1L, -1L, 999_999_999L)]
    [InlineData(1_500_000_000L, 1L, 500_000_000L)]
    [InlineData(0L, 0L, 0L)]
    public void Times_before_1970_keep_their_nanoseconds_positive(long ns, long seconds, long nanoseconds)
    {
        var time = Timespec.FromNs(ns);
        Assert.Equal((seconds, nanoseconds), (time.Seconds, time.Nanoseconds));
    }
}
